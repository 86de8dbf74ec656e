;; Prints the time, and the monotonic clock twice with 50 ms of sleep between:
;; three 64-bit numbers of nanoseconds, little-endian.
(@custom "trireme.fake" "realtime\nmonotonic\nsleep 50\nmonotonic\n")
(func (export "_start")
  (call $clock (i32.const 0) (i32.const 2048))
  (call $clock (i32.const 1) (i32.const 2056))
  (i32.store (i32.const 264) (i32.const 0))
  (i32.store (i32.const 272) (i32.const 1))
  (i64.store (i32.const 280) (i64.const 50000000))
  (call $must (call $poll_oneoff (i32.const 256) (i32.const 512) (i32.const 1) (i32.const 8)))
  (call $clock (i32.const 1) (i32.const 2064))
  (call $write (i32.const 1) (i32.const 2048) (i32.const 24)))
