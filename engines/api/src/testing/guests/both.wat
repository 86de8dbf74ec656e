;; Writes to stdout and to stderr.
(@custom "trireme.fake" "out to stdout\nerr to stderr\n")
(data (i32.const 2048) "to stdout\nto stderr\n")
(func (export "_start")
  (call $write (i32.const 1) (i32.const 2048) (i32.const 10))
  (call $write (i32.const 2) (i32.const 2058) (i32.const 10)))
