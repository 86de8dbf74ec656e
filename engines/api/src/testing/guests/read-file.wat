;; Prints the file that its argument names below the first directory.
(@custom "trireme.fake" "read $1\n")
(func (export "_start")
  (local $path i32)
  (local.set $path (call $argument))
  (call $must
    (call $path_open
      (i32.const 3) (i32.const 1) (local.get $path) (call $length (local.get $path))
      (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
  (call $copy (i32.load (i32.const 16)) (i32.const 1)))
