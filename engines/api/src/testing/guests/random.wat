;; Prints 16 random bytes.
(@custom "trireme.fake" "random\n")
(func (export "_start")
  (call $must (call $random_get (i32.const 2048) (i32.const 16)))
  (call $write (i32.const 1) (i32.const 2048) (i32.const 16)))
