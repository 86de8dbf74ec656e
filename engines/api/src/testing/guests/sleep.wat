;; Says so and sleeps for a minute.
(@custom "trireme.fake" "out ready\nsleep 60000\n")
(data (i32.const 2048) "ready\n")
(func (export "_start")
  (call $write (i32.const 1) (i32.const 2048) (i32.const 6))
  (i32.store (i32.const 272) (i32.const 1))
  (i64.store (i32.const 280) (i64.const 60000000000))
  (call $must (call $poll_oneoff (i32.const 256) (i32.const 512) (i32.const 1) (i32.const 8))))
