;; Prints its arguments, each ended by a NUL.
(@custom "trireme.fake" "args\n")
(func (export "_start")
  (call $must (call $args_sizes_get (i32.const 0) (i32.const 4)))
  (i32.store (i32.const 16) (i32.load (i32.const 4)))
  (call $must (call $args_get (i32.const 1024) (i32.const 4096)))
  (call $write (i32.const 1) (i32.const 4096) (i32.load (i32.const 16))))
