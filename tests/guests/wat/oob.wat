;; Reads behind the end of its memory.
(module
  (memory (export "memory") 1)
  (func $look_over_the_edge (result i32) (i32.load (i32.const 0x7fff0000)))
  (func (export "_start") (drop (call $look_over_the_edge))))
