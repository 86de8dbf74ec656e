;; Asks for 4 GiB of memory at once, and touches its first and last page.
(module
  (memory (export "memory") 65536)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1))
    (i32.store (i32.const 0xfffffff0) (i32.const 1))))
