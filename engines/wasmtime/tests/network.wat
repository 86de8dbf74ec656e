;; Asks for a socket and for a name. `allowed` traps where it gets one not, `denied` where it gets
;; anything but access-denied (1) and permanent-resolver-failure (20).
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type (sub resource)))))
  (import "wasi:sockets/network@0.2.0" (instance $network
    (export "network" (type (sub resource)))
    (type $code (enum
      "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit"
      "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused"
      "connection-reset" "connection-aborted" "datagram-too-large" "name-unresolvable"
      "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type (eq $code)))
    (type $family (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $family)))))
  (alias export $network "network" (type $handle))
  (alias export $network "error-code" (type $code))
  (alias export $network "ip-address-family" (type $family))
  (import "wasi:sockets/instance-network@0.2.0" (instance $instance-network
    (alias outer 1 $handle (type $outer))
    (export "network" (type $network (eq $outer)))
    (export "instance-network" (func (result (own $network))))))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp
    (export "tcp-socket" (type (sub resource)))))
  (alias export $tcp "tcp-socket" (type $socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
    (alias outer 1 $code (type $outer-code))
    (export "error-code" (type $code (eq $outer-code)))
    (alias outer 1 $family (type $outer-family))
    (export "ip-address-family" (type $family (eq $outer-family)))
    (alias outer 1 $socket (type $outer-socket))
    (export "tcp-socket" (type $socket (eq $outer-socket)))
    (type $result (result (own $socket) (error $code)))
    (export "create-tcp-socket" (func (param "address-family" $family) (result $result)))))
  (import "wasi:sockets/ip-name-lookup@0.2.0" (instance $lookup
    (alias outer 1 $handle (type $outer-handle))
    (export "network" (type $network (eq $outer-handle)))
    (alias outer 1 $code (type $outer-code))
    (export "error-code" (type $code (eq $outer-code)))
    (export "resolve-address-stream" (type $stream (sub resource)))
    (type $result (result (own $stream) (error $code)))
    (export "resolve-addresses"
      (func (param "network" (borrow $network)) (param "name" string) (result $result)))))

  (core module $memory
    (memory (export "memory") 1)
    (data (i32.const 64) "localhost"))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $mem))
  (core func $instance-network (canon lower (func $instance-network "instance-network")))
  (core func $create (canon lower (func $create "create-tcp-socket") (memory $mem)))
  (core func $resolve (canon lower (func $lookup "resolve-addresses") (memory $mem)))
  (core module $main
    (import "memory" "memory" (memory 1))
    (import "host" "network" (func $network (result i32)))
    (import "host" "create" (func $create (param i32 i32)))
    (import "host" "resolve" (func $resolve (param i32 i32 i32 i32)))
    (func $expect (param i32 i32)
      (if (i32.ne (local.get 0) (local.get 1)) (then unreachable)))
    (func $ask
      (call $create (i32.const 0) (i32.const 0))
      (call $resolve (call $network) (i32.const 64) (i32.const 9) (i32.const 16)))
    (func (export "allowed")
      (call $ask)
      (call $expect (i32.load8_u (i32.const 0)) (i32.const 0))
      (call $expect (i32.load8_u (i32.const 16)) (i32.const 0)))
    (func (export "denied")
      (call $ask)
      (call $expect (i32.load8_u (i32.const 0)) (i32.const 1))
      (call $expect (i32.load8_u (i32.const 4)) (i32.const 1))
      (call $expect (i32.load8_u (i32.const 16)) (i32.const 1))
      (call $expect (i32.load8_u (i32.const 20)) (i32.const 20))))
  (core instance $main (instantiate $main
    (with "memory" (instance $memory))
    (with "host" (instance
      (export "network" (func $instance-network))
      (export "create" (func $create))
      (export "resolve" (func $resolve))))))
  (func (export "allowed") (canon lift (core func $main "allowed")))
  (func (export "denied") (canon lift (core func $main "denied"))))
