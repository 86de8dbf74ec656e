//! Where an engine differs from the guest contract, with the reason upstream.

use super::Engine;

/// One thing that an engine does otherwise.
///
/// Its checks are expected failures: each must fail, in the way that is said here. One that passes
/// fails the tests, so that its line goes when the engine behaves.
#[derive(Debug)]
pub struct Difference {
    /// The engine.
    pub engine: Engine,
    /// What it does instead, for users.
    pub instead: &'static str,
    /// Where that comes from: an issue, or a source file of the engine.
    pub reference: &'static str,
    /// The checks that tell, each with what is seen in it: an end-to-end case by its name, with
    /// words of its failure, or a step of the guest `walk` behind [`WALK`], with its result.
    pub checks: &'static [(&'static str, &'static str)],
}

/// What the checks that are steps of the guest `walk` begin with.
pub const WALK: &str = "walk: ";

/// All that is known.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        engine: Engine::Wasmtime,
        instead: "Writing to a read-only file system fails with EIO, not EROFS.",
        reference: "wasmtime-wasi 48, src/filesystem.rs, `from_raw_os_error`: no EROFS",
        checks: &[
            ("a_read_only_root_cannot_be_written", "write /new.txt: EIO"),
            (
                "a_mount_read_only_can_be_read_alone",
                "write /mnt/one/more: EIO",
            ),
        ],
    },
    Difference {
        engine: Engine::Wasmtime,
        instead: "`writev` writes the first part that is not empty, and says so in its result.",
        reference: "https://github.com/bytecodealliance/wasmtime/issues/8037",
        checks: &[
            ("walk: append two parts", "4"),
            ("walk: content with the parts", "0xy3..one,"),
        ],
    },
    Difference {
        engine: Engine::Wasmtime,
        instead: "`posix_fallocate` is not supported.",
        reference: "wasmtime-wasi 48, src/p1.rs, `fd_allocate`",
        checks: &[
            ("walk: reserve", "ENOTSUP"),
            ("walk: size after it", "file of 6, 1 names"),
        ],
    },
    Difference {
        engine: Engine::Wasmer,
        instead: "Components are refused.",
        reference: "wasmer 7.3, lib/api/src/entities/module: no type for a component",
        checks: &[
            ("a_component_runs", "wasmer takes modules only"),
            (
                "a_component_runs_from_every_platform",
                "wasmer takes modules only",
            ),
        ],
    },
    Difference {
        engine: Engine::Wasmer,
        instead: "Writing to a read-only file system fails with EPERM, not EROFS.",
        reference: "virtual-fs 0.703, src/lib.rs, `FsError`: no error for it",
        checks: &[
            (
                "a_read_only_root_cannot_be_written",
                "write /new.txt: EPERM",
            ),
            (
                "a_mount_read_only_can_be_read_alone",
                "write /mnt/one/more: EPERM",
            ),
        ],
    },
    Difference {
        engine: Engine::Wasmer,
        instead: "Using a descriptor for what it was not opened for fails with EACCES, not EBADF \
                  or EINVAL.",
        reference: "wasmer-wasix 0.703, src/syscalls/wasi/{fd_read,fd_write,fd_filestat_set_size}.rs",
        checks: &[
            ("walk: read what is open to write", "EACCES"),
            ("walk: write what is open to read", "EACCES"),
            ("walk: truncate what is open to read", "EACCES"),
        ],
    },
    Difference {
        engine: Engine::Wasmer,
        instead: "A name that is too long fails with EINVAL, not ENAMETOOLONG.",
        reference: "virtual-fs 0.703, src/lib.rs, `FsError`: no error for it",
        checks: &[("walk: a name of 300", "EINVAL")],
    },
    Difference {
        engine: Engine::Wasmer,
        instead: "The number of names of a file is not told.",
        reference: "virtual-fs 0.703, src/lib.rs, `Metadata`: no number of links",
        checks: &[("walk: a file of two names", "file of 0, 1 names")],
    },
    Difference {
        engine: Engine::Wasmer,
        instead: "A second name of a file exists for the guest alone; the file system keeps the \
                  first.",
        reference: "wasmer-wasix 0.703, src/syscalls/wasi/path_link.rs",
        checks: &[
            ("walk: left book", "(nothing)"),
            ("walk: left hold/book", "f chapter"),
        ],
    },
    Difference {
        engine: Engine::Wasmer,
        instead: "Times set by path are not those of the file.",
        reference: "wasmer-wasix 0.703, src/syscalls/wasi/path_filestat_set_times.rs",
        checks: &[
            ("walk: read is as it was set", "no"),
            ("walk: written is as it was set", "no"),
            ("walk: read is as before", "no"),
        ],
    },
    Difference {
        engine: Engine::Wasmi,
        instead: "Components are refused.",
        reference: "https://github.com/wasmi-labs/wasmi/issues/1665",
        checks: &[
            ("a_component_runs", "wasmi takes modules only"),
            (
                "a_component_runs_from_every_platform",
                "wasmi takes modules only",
            ),
        ],
    },
    Difference {
        engine: Engine::Wasmi,
        instead: "A trap is told without the functions that led to it.",
        reference: "https://github.com/wasmi-labs/wasmi/pull/1461",
        checks: &[
            (
                "a_trap_is_told_with_its_function",
                "`run_aground` is not told",
            ),
            (
                "a_load_out_of_bounds_is_told",
                "`look_over_the_edge` is not told",
            ),
        ],
    },
    Difference {
        engine: Engine::Wasmi,
        instead: "`posix_fallocate` is not supported.",
        reference: "wasi-common 36, src/snapshots/preview_1.rs, `fd_allocate`",
        checks: &[
            ("walk: reserve", "ENOTSUP"),
            ("walk: size after it", "file of 6, 1 names"),
            ("walk: content with the parts", "0xy3..one,two"),
        ],
    },
    Difference {
        engine: Engine::Wasmi,
        instead: "A memory is written when it is made: one that exceeds the container's limit ends \
                  the guest as out of memory, even where the guest would not use it.",
        reference: "wasmi_core 2.0, src/memory/buffer.rs: `Vec::extend` with zeros",
        checks: &[("four_gigabytes_of_memory_harm_nobody", "ended with 137")],
    },
    Difference {
        engine: Engine::Wasmi,
        instead: "Nothing is compiled ahead of time, so `compile_timeout` bounds nothing; functions \
                  are translated when they are first called.",
        reference: "wasmi 2.0, src/engine/config.rs, `CompilationMode::LazyTranslation`",
        checks: &[(
            "a_compile_that_takes_too_long_is_ended",
            "it was compiled in time",
        )],
    },
    Difference {
        engine: Engine::Wasmi,
        instead: "Code is copied into each guest's memory, not mapped.",
        reference: "wasmi 2.0, src/module/mod.rs: `Module::new` takes bytes alone",
        checks: &[
            ("the_second_start_maps_cached_code", "one file is mapped"),
            ("twenty_first_starts_compile_once", "awk"),
        ],
    },
    Difference {
        engine: Engine::WasmEdge,
        instead: "Components are refused.",
        reference: "WasmEdge 0.17.1, enum.inc: `ComponentNotImplInstantiate`",
        checks: &[
            ("a_component_runs", "WasmEdge takes modules only"),
            (
                "a_component_runs_from_every_platform",
                "WasmEdge takes modules only",
            ),
        ],
    },
    Difference {
        engine: Engine::WasmEdge,
        instead: "The stack is not bounded: recursion without end takes memory, until the \
                  container's limit ends the guest. With `compiler = \"llvm\"` it is the \
                  process's, and a full one is a trap.",
        reference: "https://github.com/WasmEdge/WasmEdge/issues/2079",
        checks: &[("a_full_stack_is_told", "ended with 137")],
    },
    Difference {
        engine: Engine::WasmEdge,
        instead: "Nothing is compiled ahead of time: modules are interpreted, unless `compiler = \
                  \"llvm\"` is set. A trap is then told without its function.",
        reference: "docs/decisions/0013-wasmedge.md",
        checks: &[(
            "a_compile_that_takes_too_long_is_ended",
            "it was compiled in time",
        )],
    },
    Difference {
        engine: Engine::WasmEdge,
        instead: "Truncating what is open to read fails with ENOTCAPABLE, not EINVAL.",
        reference: "WasmEdge 0.17.1, lib/host/wasi/vinode.h, `fdFilestatSetSize`",
        checks: &[("walk: truncate what is open to read", "ENOTCAPABLE")],
    },
    Difference {
        engine: Engine::WasmEdge,
        instead: "A symbolic link that leads out of the guest's directory cannot be made.",
        reference: "WasmEdge 0.17.1, lib/host/wasi/vinode.cpp, `pathSymlink`",
        checks: &[
            ("walk: a link out", "EPERM"),
            ("walk: list links", "book hold/ nothing@ self@"),
            ("walk: left out", "(nothing)"),
        ],
    },
    Difference {
        engine: Engine::WasmEdge,
        instead: "`poll` does not say that a regular file can be read.",
        reference: "WasmEdge 0.17.1, lib/host/wasi/inode-linux.cpp: epoll, which takes no files",
        checks: &[("walk: it can be read", "no")],
    },
];

/// What is to be seen of a check on an engine that differs in it, with the line that says so.
pub fn find(engine: Engine, check: &str) -> Option<(&'static str, &'static Difference)> {
    DIFFERENCES
        .iter()
        .filter(|line| line.engine == engine)
        .find_map(|line| {
            let known = line.checks.iter().find(|(known, _)| *known == check)?;
            Some((known.1, line))
        })
}
