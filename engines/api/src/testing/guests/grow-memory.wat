;; Ends with 0 when its memory cannot become 64 MiB, else with 1; traps when it
;; cannot become 1 MiB.
(func (export "_start")
  (if (i32.eq (memory.grow (i32.const 12)) (i32.const -1)) (then unreachable))
  (if (i32.ne (memory.grow (i32.const 1008)) (i32.const -1))
    (then (call $proc_exit (i32.const 1)))))
