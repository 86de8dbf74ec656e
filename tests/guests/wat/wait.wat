;; Reads its input to the end, then traps.
(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; A buffer of 64 bytes; how many were read is at 8.
  (data (i32.const 0) "\10\00\00\00\40\00\00\00")
  (func (export "_start")
    (loop $more
      (br_if $more
        (i32.and
          (i32.eqz (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
          (i32.ne (i32.load (i32.const 8)) (i32.const 0)))))
    unreachable))
