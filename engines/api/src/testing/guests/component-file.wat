;; A component that appends "non-blocking\n" to out.txt below its first
;; directory, by `write` of an output stream rather than its blocking kin; its
;; `run` is an error when anything fails.
(component
  (import "wasi:io/error@0.2.0" (instance $error
    (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error-type))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $output-stream (sub resource)))
    (alias outer 1 $error-type (type $outer-error))
    (export "error" (type $error (eq $outer-error)))
    (type $stream-error' (variant
      (case "last-operation-failed" (own $error))
      (case "closed")))
    (export "stream-error" (type $stream-error (eq $stream-error')))
    (export "[method]output-stream.check-write"
      (func (param "self" (borrow $output-stream))
        (result (result u64 (error $stream-error)))))
    (export "[method]output-stream.write"
      (func (param "self" (borrow $output-stream)) (param "contents" (list u8))
        (result (result (error $stream-error)))))
    (export "[method]output-stream.blocking-flush"
      (func (param "self" (borrow $output-stream))
        (result (result (error $stream-error)))))))
  (alias export $streams "output-stream" (type $output-stream))
  (import "wasi:filesystem/types@0.2.0" (instance $types
    (export "descriptor" (type $descriptor (sub resource)))
    (alias outer 1 $output-stream (type $outer-stream))
    (export "output-stream" (type $stream (eq $outer-stream)))
    (type $error-code' (enum
      "access" "would-block" "already" "bad-descriptor" "busy" "deadlock" "quota" "exist"
      "file-too-large" "illegal-byte-sequence" "in-progress" "interrupted" "invalid" "io"
      "is-directory" "loop" "too-many-links" "message-size" "name-too-long" "no-device"
      "no-entry" "no-lock" "insufficient-memory" "insufficient-space" "not-directory"
      "not-empty" "not-recoverable" "unsupported" "no-tty" "no-such-device" "overflow"
      "not-permitted" "pipe" "read-only" "invalid-seek" "text-file-busy" "cross-device"))
    (export "error-code" (type $error-code (eq $error-code')))
    (type $path-flags' (flags "symlink-follow"))
    (export "path-flags" (type $path-flags (eq $path-flags')))
    (type $open-flags' (flags "create" "directory" "exclusive" "truncate"))
    (export "open-flags" (type $open-flags (eq $open-flags')))
    (type $descriptor-flags' (flags
      "read" "write" "file-integrity-sync" "data-integrity-sync" "requested-write-sync"
      "mutate-directory"))
    (export "descriptor-flags" (type $descriptor-flags (eq $descriptor-flags')))
    (export "[method]descriptor.open-at"
      (func (param "self" (borrow $descriptor)) (param "path-flags" $path-flags)
        (param "path" string) (param "open-flags" $open-flags)
        (param "flags" $descriptor-flags)
        (result (result (own $descriptor) (error $error-code)))))
    (export "[method]descriptor.append-via-stream"
      (func (param "self" (borrow $descriptor))
        (result (result (own $stream) (error $error-code)))))))
  (alias export $types "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor (type $outer-descriptor))
    (export "descriptor" (type $descriptor (eq $outer-descriptor)))
    (export "get-directories" (func (result (list (tuple (own $descriptor) string)))))))

  (core module $libc
    (memory (export "memory") 1)
    (data (i32.const 64) "out.txtnon-blocking\n")
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32) (param $size i32) (result i32)
      (global.get $next)
      (global.set $next
        (i32.and
          (i32.add (i32.add (global.get $next) (local.get $size)) (i32.const 7))
          (i32.const -8)))))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $check-write (canon lower
    (func $streams "[method]output-stream.check-write") (memory $memory)))
  (core func $write (canon lower
    (func $streams "[method]output-stream.write") (memory $memory)))
  (core func $flush (canon lower
    (func $streams "[method]output-stream.blocking-flush") (memory $memory)))
  (core func $open-at (canon lower
    (func $types "[method]descriptor.open-at") (memory $memory)))
  (core func $append (canon lower
    (func $types "[method]descriptor.append-via-stream") (memory $memory)))
  (core func $get-directories (canon lower
    (func $preopens "get-directories") (memory $memory) (realloc $realloc)))

  (core module $main
    (import "host" "check-write" (func $check_write (param i32 i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (import "host" "flush" (func $flush (param i32 i32)))
    (import "host" "open-at" (func $open_at (param i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "append" (func $append (param i32 i32)))
    (import "host" "get-directories" (func $get_directories (param i32)))
    (import "libc" "memory" (memory 1))
    (func (export "run") (result i32)
      (local $stream i32)
      ;; The list's address at 0, its first item's descriptor at that address.
      (call $get_directories (i32.const 0))
      (call $open_at
        (i32.load (i32.load (i32.const 0)))
        (i32.const 0) (i32.const 64) (i32.const 7) (i32.const 1) (i32.const 2) (i32.const 8))
      (if (i32.load8_u (i32.const 8)) (then (return (i32.const 1))))
      (call $append (i32.load (i32.const 12)) (i32.const 16))
      (if (i32.load8_u (i32.const 16)) (then (return (i32.const 1))))
      (local.set $stream (i32.load (i32.const 20)))
      (call $check_write (local.get $stream) (i32.const 24))
      (if (i32.load8_u (i32.const 24)) (then (return (i32.const 1))))
      (if (i64.lt_u (i64.load (i32.const 32)) (i64.const 13)) (then (return (i32.const 1))))
      (call $write (local.get $stream) (i32.const 71) (i32.const 13) (i32.const 40))
      (if (i32.load8_u (i32.const 40)) (then (return (i32.const 1))))
      (call $flush (local.get $stream) (i32.const 40))
      (i32.load8_u (i32.const 40))))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "host" (instance
      (export "check-write" (func $check-write))
      (export "write" (func $write))
      (export "flush" (func $flush))
      (export "open-at" (func $open-at))
      (export "append" (func $append))
      (export "get-directories" (func $get-directories))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (component $command
    (import "run" (func $run (result (result))))
    (export "run" (func $run)))
  (instance $command (instantiate $command (with "run" (func $run))))
  (export "wasi:cli/run@0.2.0" (instance $command)))
