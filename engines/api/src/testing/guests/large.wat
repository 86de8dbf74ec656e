;; Writes 1 MiB whose byte i is i modulo 251, and exits right away.
(@custom "trireme.fake" "fill 1048576\nexit 0\n")
(func (export "_start")
  (local $i i32) (local $n i32)
  (loop $block
    (local.set $n (i32.const 0))
    (loop $byte
      (i32.store8
        (i32.add (i32.const 65536) (local.get $n))
        (i32.rem_u (local.get $i) (i32.const 251)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $byte (i32.lt_u (local.get $n) (i32.const 65536))))
    (call $write (i32.const 1) (i32.const 65536) (i32.const 65536))
    (br_if $block (i32.lt_u (local.get $i) (i32.const 1048576))))
  (call $proc_exit (i32.const 0)))
