//! The tree of the Linux programs that are executed in a guest's container: one
//! mount namespace, made for the first of them, and gone with the container.

use std::os::fd::{AsFd, OwnedFd};

use trireme_container::native::FromHelper;
use trireme_container::native::tree::TreeOrder;
use trireme_core::spec::oci;

use super::abandon::Abandoned;
use super::aside::aside;
use super::birth::Beginner;
use super::container::Container;
use super::create::{Maker, given_up};
use super::error::ServiceError;
use super::native::{Helper, kill_all};

/// What there is of the tree: nothing, until a Linux program is executed.
pub(super) type Tree = tokio::sync::Mutex<Option<OwnedFd>>;

impl Maker {
    /// The mount namespace for Linux programs in a guest's container.
    pub(super) async fn tree(
        &self,
        container: &Container,
        abandoned: &Abandoned,
    ) -> Result<OwnedFd, ServiceError> {
        let tree = abandoned.or(container.tree.lock()).await;
        let mut tree = tree.ok_or_else(given_up)?;
        let namespace = match tree.take() {
            Some(namespace) => namespace,
            None => self.make_tree(container, abandoned).await?,
        };
        let theirs = namespace
            .try_clone()
            .map_err(|error| ServiceError::Setup(format!("the tree: {error}")));
        *tree = Some(namespace);
        theirs
    }

    async fn make_tree(
        &self,
        container: &Container,
        abandoned: &Abandoned,
    ) -> Result<OwnedFd, ServiceError> {
        let spec = self.specification(&container.bundle, &container.id)?;
        let resources = spec.linux().as_ref().and_then(resources_of);
        let order = TreeOrder::from_spec(
            &spec,
            &container.bundle,
            &container.rootfs,
            &container.cgroup,
        )?;
        container.cgroup.admit_programs(resources)?;
        let first = container.init.open()?;
        let cgroup = container.cgroup.clone_into()?;
        let (maker, link) = self.spawn_helper(&Helper {
            verb: c"tree",
            order: &order,
            streams: None,
            new_namespaces: 0,
            first: Some(first.as_fd()),
            cgroup: cgroup.as_ref().map(AsFd::as_fd),
        })?;
        let maker = Beginner::new(container, maker);
        let answer = abandoned.or(maker.hear::<FromHelper>(&link)).await;
        // It has nothing left to do, or nobody wants it.
        let _ = maker.end().await;
        let failed = |why: &str| {
            ServiceError::Setup(format!("the tree of Linux programs cannot be made: {why}"))
        };
        match answer.ok_or_else(given_up)? {
            Ok(Some((FromHelper::Ready { .. }, Some(namespace)))) => Ok(namespace),
            Ok(Some((FromHelper::Failed { message }, _))) => Err(failed(&message)),
            Ok(_) => Err(failed("its maker ended without a word")),
            Err(error) => Err(failed(&error.to_string())),
        }
    }
}

fn resources_of(linux: &oci::Linux) -> Option<&oci::LinuxResources> {
    linux.resources().as_ref()
}

impl Container {
    /// Removes the tree, with all that Linux programs have left behind in the
    /// container: where that shares its pid namespace they go on without init.
    pub(super) async fn fell(&self) {
        let Some(tree) = self.tree.lock().await.take() else {
            return;
        };
        let cgroup = self.cgroup.clone();
        aside(move || {
            kill_all(&cgroup);
            // The kernel takes a moment to unmount.
            drop(tree);
        })
        .await;
    }
}
