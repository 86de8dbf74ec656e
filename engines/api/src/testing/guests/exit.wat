;; Ends with the code that its argument spells.
(@custom "trireme.fake" "exit $1\n")
(func (export "_start")
  (local $text i32) (local $code i32)
  (local.set $text (call $argument))
  (block $done
    (loop $more
      (br_if $done (i32.eqz (i32.load8_u (local.get $text))))
      (local.set $code
        (i32.add
          (i32.mul (local.get $code) (i32.const 10))
          (i32.sub (i32.load8_u (local.get $text)) (i32.const 48))))
      (local.set $text (i32.add (local.get $text) (i32.const 1)))
      (br $more)))
  (call $proc_exit (local.get $code)))
