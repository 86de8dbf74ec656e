;; Calls itself until its stack is full. What it reads after the call may have changed meanwhile, so
;; that no compiler can make a loop of it.
(module
  (memory (export "memory") 1)
  (func $dive (param $depth i64) (result i64)
    (i64.store (i32.const 0) (local.get $depth))
    (i64.sub
      (call $dive (i64.add (local.get $depth) (i64.const 1)))
      (i64.load (i32.const 0))))
  (func (export "_start") (drop (call $dive (i64.const 0)))))
