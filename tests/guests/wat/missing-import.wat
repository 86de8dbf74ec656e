(module
  (import "harbour" "open_lock" (func $open_lock))
  (memory (export "memory") 1)
  (func (export "_start") (call $open_lock)))
