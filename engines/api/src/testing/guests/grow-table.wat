;; Ends with 0 when its table cannot have a million elements, else with 1; traps
;; when it cannot have a hundred.
(table $t 1 funcref)
(func (export "_start")
  (if (i32.eq (table.grow $t (ref.null func) (i32.const 99)) (i32.const -1)) (then unreachable))
  (if (i32.ne (table.grow $t (ref.null func) (i32.const 999900)) (i32.const -1))
    (then (call $proc_exit (i32.const 1)))))
