;; What the module guests share: imports, a memory, and helpers that end the
;; guest with 100 + errno when a call fails. Addresses below 1024 are scratch.
(import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
(import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_open"
  (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
(import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
(memory (export "memory") 4)

(func $must (param $errno i32)
  (if (local.get $errno)
    (then (call $proc_exit (i32.add (i32.const 100) (local.get $errno))))))

(func $write (param $fd i32) (param $at i32) (param $length i32)
  (loop $more
    (if (local.get $length)
      (then
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $length))
        (call $must
          (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
        (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
        (local.set $length (i32.sub (local.get $length) (i32.load (i32.const 8))))
        (br $more)))))

;; Reads up to 16 KiB to address 65536.
(func $read (param $fd i32) (result i32)
  (i32.store (i32.const 0) (i32.const 65536))
  (i32.store (i32.const 4) (i32.const 16384))
  (call $must (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
  (i32.load (i32.const 8)))

;; Copies one descriptor to another until its end.
(func $copy (param $from i32) (param $to i32)
  (local $n i32)
  (loop $more
    (local.set $n (call $read (local.get $from)))
    (if (local.get $n)
      (then
        (call $write (local.get $to) (i32.const 65536) (local.get $n))
        (br $more)))))

;; The address of the first argument after the name, ended by a NUL.
(func $argument (result i32)
  (call $must (call $args_get (i32.const 1024) (i32.const 4096)))
  (i32.load (i32.const 1028)))

(func $length (param $text i32) (result i32)
  (local $n i32)
  (block $done
    (loop $more
      (br_if $done (i32.eqz (i32.load8_u (i32.add (local.get $text) (local.get $n)))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br $more)))
  (local.get $n))

;; The clock's nanoseconds, stored at an address.
(func $clock (param $id i32) (param $at i32)
  (call $must (call $clock_time_get (local.get $id) (i64.const 1) (local.get $at))))
