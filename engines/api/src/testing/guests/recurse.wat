;; Calls itself 10000 deep.
(func $down (param $left i32) (result i32)
  (if (result i32) (local.get $left)
    (then (i32.add (i32.const 1) (call $down (i32.sub (local.get $left) (i32.const 1)))))
    (else (i32.const 0))))
(func (export "_start")
  (if (i32.ne (call $down (i32.const 10000)) (i32.const 10000)) (then unreachable)))
