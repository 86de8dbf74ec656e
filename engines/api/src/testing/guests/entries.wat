;; More than one function to start with.
(@custom "trireme.fake" "out start\nfn other\nout other\nfn with-parameter i32\n")
(data (i32.const 2048) "start\nother\n")
(func (export "_start")
  (call $write (i32.const 1) (i32.const 2048) (i32.const 6)))
(func (export "other")
  (call $write (i32.const 1) (i32.const 2054) (i32.const 6)))
(func (export "with-parameter") (param i32))
