//! What `wasmer-wasix` asks of the system around a guest: one thread, and no
//! more than the guest was given.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use trireme_engine::Guest;
use virtual_fs::FileSystem;
use virtual_net::{DynVirtualNetworking, UnsupportedVirtualNetworking};
use wasmer::Store;
use wasmer_wasix::runtime::resolver::{MultiSource, Source};
use wasmer_wasix::runtime::task_manager::TaskWasm;
use wasmer_wasix::{
    Runtime, VIRTUAL_ROOT_FD, VirtualTaskManager, WasiEnv, WasiFs, WasiFunctionEnv, WasiInodes,
    WasiRuntimeError, WasiThreadError,
};

use crate::files::Tree;
use crate::stdio::Stream;
use crate::wait::Waits;

type SetupFsFn = Box<dyn Fn(&WasiInodes, &mut WasiFs) -> Result<(), String> + Send>;
type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// The guest's WASI, made from nothing that existed before this call: what is
/// random in it comes from the kernel here.
pub(crate) fn environment(
    engine: &wasmer::Engine,
    store: &mut Store,
    guest: Guest,
) -> Result<WasiFunctionEnv, Box<WasiRuntimeError>> {
    let waits = Arc::new(Waits::default());
    let host = Host {
        engine: engine.clone(),
        network: Arc::new(UnsupportedVirtualNetworking::default()),
        tasks: Arc::new(Tasks {
            waits: Arc::clone(&waits),
            parallelism: guest.parallelism,
        }),
    };
    let mut args = guest.args.into_iter();
    let tree = Tree::new(&guest.cwd, guest.directories);
    let mut builder = WasiEnv::builder(args.next().unwrap_or_default())
        .args(args)
        .envs(guest.env)
        .stdin(Stream::stdin(&waits))
        .stdout(Stream::stdout(&waits))
        .stderr(Stream::stderr(&waits))
        .runtime(Arc::new(host))
        .setup_fs(set_up(guest.cwd, tree.root()));
    // Its own commands would run modules beside the guest.
    builder.set_disable_default_builtins(true);
    for preopen in tree.preopens() {
        let described = builder.add_preopen_build(|directory| {
            directory
                .directory(&preopen.path)
                .read(true)
                .write(preopen.writable)
                .create(preopen.writable);
            // An alias loses its leading `/`; a path is its own name.
            match preopen.path.to_str() == Some(&preopen.name) {
                true => directory,
                false => directory.alias(&preopen.name),
            }
        });
        described.map_err(|error| Box::new(error.into()))?;
    }
    builder
        .fs(Arc::new(tree) as Arc<dyn FileSystem + Send + Sync>)
        .finalize(store)
        .map_err(Box::new)
}

/// Sets the working directory of WASIX, which the builder would list first, and
/// the root.
fn set_up(cwd: String, root: Option<usize>) -> SetupFsFn {
    Box::new(move |_, fs| {
        fs.set_current_dir(&cwd);
        root.map_or(Ok(()), |index| begin_at(fs, index))
    })
}

/// Makes the directory of this number the root of all paths.
///
/// `wasmer-wasix` has a root of its own, at descriptor 3, which holds the
/// guest's directories by name, and in which nothing can be created. Without it
/// there is nothing above a directory either.
fn begin_at(fs: &mut WasiFs, index: usize) -> Result<(), String> {
    let fd = fs
        .preopen_fds
        .read()
        .ok()
        // Its own root is the first.
        .and_then(|fds| fds.get(index + 1).copied())
        .ok_or("the root is not open")?;
    let root = fs.get_fd_inode(fd).map_err(|errno| errno.to_string())?;
    if let Ok(mut fds) = fs.fd_map.write()
        && let Some(mut first) = fds.remove(VIRTUAL_ROOT_FD)
    {
        first.inode = root.clone();
        fds.insert(true, VIRTUAL_ROOT_FD, first);
    }
    fs.root_inode = root;
    Ok(())
}

/// The runtime of a guest that has this thread only.
#[derive(Debug)]
struct Host {
    engine: wasmer::Engine,
    network: DynVirtualNetworking,
    tasks: Arc<dyn VirtualTaskManager>,
}

impl Runtime for Host {
    fn networking(&self) -> &DynVirtualNetworking {
        &self.network
    }

    fn task_manager(&self) -> &Arc<dyn VirtualTaskManager> {
        &self.tasks
    }

    fn source(&self) -> Arc<dyn Source + Send + Sync> {
        Arc::new(MultiSource::default())
    }

    fn engine(&self) -> wasmer::Engine {
        self.engine.clone()
    }

    fn new_store(&self) -> Store {
        Store::new(self.engine.clone())
    }
}

/// Waits, and starts nothing.
#[derive(Debug)]
struct Tasks {
    waits: Arc<Waits>,
    parallelism: usize,
}

impl VirtualTaskManager for Tasks {
    fn sleep_now(
        &self,
        time: Duration,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync + 'static>> {
        Box::pin(self.waits.sleep(time))
    }

    fn task_shared(
        &self,
        _: Box<dyn FnOnce() -> Task + Send + 'static>,
    ) -> Result<(), WasiThreadError> {
        Err(WasiThreadError::Unsupported)
    }

    fn task_wasm(&self, _: TaskWasm) -> Result<(), WasiThreadError> {
        Err(WasiThreadError::Unsupported)
    }

    fn task_dedicated(&self, _: Box<dyn FnOnce() + Send + 'static>) -> Result<(), WasiThreadError> {
        Err(WasiThreadError::Unsupported)
    }

    fn thread_parallelism(&self) -> Result<usize, WasiThreadError> {
        Ok(self.parallelism)
    }
}
