;; Creates the file that its argument names below the first directory.
(@custom "trireme.fake" "write $1 written by the guest\n")
(data (i32.const 2048) "written by the guest\n")
(func (export "_start")
  (local $path i32)
  (local.set $path (call $argument))
  (call $must
    (call $path_open
      (i32.const 3) (i32.const 1) (local.get $path) (call $length (local.get $path))
      (i32.const 9) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16)))
  (i32.store (i32.const 20) (i32.load (i32.const 16)))
  (call $write (i32.load (i32.const 20)) (i32.const 2048) (i32.const 21))
  (call $must (call $fd_close (i32.load (i32.const 20)))))
