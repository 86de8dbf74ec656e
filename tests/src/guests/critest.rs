//! Stand-ins for the images of `critest`, under the names that `pkg/validate/consts.go` of
//! cri-tools 1.36 has for them, in `critest/` of the folder. What is in them is Debian's.
//!
//! There is none for `test-image-digest`: its name is the digest of an image that is not to be
//! had.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::compile::{C_FLAGS, run};
use super::images::{busybox, pause};
use super::oci::{self, Layer};

/// The registries that the images are pulled from.
pub const REGISTRIES: [&str; 3] = ["gcr.io", "k8s.gcr.io", "registry.k8s.io"];
const E2E: &str = "registry.k8s.io/e2e-test-images";
const STAGING: &str = "gcr.io/k8s-staging-cri-tools";
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
/// What specs run of busybox, by its own names.
const APPLETS: &[&str] = &[
    "brctl", "cat", "chmod", "dd", "echo", "grep", "hostname", "httpd", "id", "ls", "mkdir",
    "mount", "netstat", "nslookup", "pidof", "ping", "ps", "sh", "sleep", "stat", "test", "top",
    "touch", "true", "umount",
];
/// The images that are pulled, listed and removed; each is another one.
const PULLED: [&str; 6] = [
    "test-image-latest:latest",
    "test-image-tag:test",
    "test-image-tag:all",
    "test-image-1:latest",
    "test-image-2:latest",
    "test-image-3:latest",
];
/// The image that has many names.
const TAGS: [&str; 3] = [
    "test-image-tags:1",
    "test-image-tags:2",
    "test-image-tags:3",
];
/// The images that name their user.
const USERS: [(&str, &str); 4] = [
    ("test-image-user-uid", "1002"),
    ("test-image-user-username", "www-data"),
    ("test-image-user-uid-group", "1003:users"),
    ("test-image-user-username-group", "www-data:www-data"),
];

/// Writes every image as an archive.
pub fn all(sources: &Path, folder: &Path) -> Result<()> {
    let trees = folder.join("critest-programs");
    run(Command::new(sources.join("programs")).arg(&trees))?;
    let euid = trees.join("euid");
    run(Command::new("gcc")
        .args(["-static", "-s"])
        .args(C_FLAGS)
        .args([&sources.join("euid.c"), Path::new("-o"), &euid]))?;
    let out = Images(&folder.join("critest"));
    shells(out, &trees)?;
    servers(out, sources, &trees)?;
    let mut layer = Layer::default();
    layer.program_of_root("euid", fs::read(&euid)?);
    let config = json!({ "Entrypoint": ["/euid"] });
    out.write(E2E, "nonewprivs:1.3", &layer, config)?;
    small(out)?;
    let (layer, config) = pause(folder)?;
    // By its path, the registry serves it under both of its names.
    out.write("registry.k8s.io", "pause:3.9", &layer, config)?;
    fs::remove_dir_all(&trees).with_context(|| format!("remove {}", trees.display()))
}

/// The images that most containers are made of.
fn shells(out: Images<'_>, trees: &Path) -> Result<()> {
    let layer = with_busybox(trees)?;
    out.write(E2E, "busybox:1.29-2", &layer, json!({ "Cmd": ["sh"] }))?;
    // The server that it stands for says its own name when it comes up.
    let words = "echo httpd -f -p 80 && exec httpd -f -p 80 -h /srv";
    let config = json!({ "Cmd": ["sh", "-c", words] });
    out.write(E2E, "httpd:2.4.39-4", &layer, config)
}

/// nginx, on the port that specs of pods expect and on that for the host's network.
fn servers(out: Images<'_>, sources: &Path, trees: &Path) -> Result<()> {
    let text = fs::read_to_string(sources.join("nginx.conf"))?;
    for (registry, name, port) in [
        (E2E, "nginx:1.14-2", "80"),
        (STAGING, "hostnet-nginx-amd64:latest", "12003"),
    ] {
        let mut layer = with_busybox(trees)?;
        add_tree(&mut layer, &trees.join("nginx"))?;
        for path in [
            "var/lib",
            "var/lib/nginx",
            "var/log",
            "var/log/nginx",
            "etc/nginx",
        ] {
            layer.folder(path);
        }
        let text = text.replace("PORT", port);
        layer.file("etc/nginx/nginx.conf", text.as_bytes());
        let config = json!({ "Entrypoint": ["nginx", "-g", "daemon off;"] });
        out.write(registry, name, &layer, config)?;
    }
    Ok(())
}

fn with_busybox(trees: &Path) -> Result<Layer> {
    let mut layer = surroundings();
    add_tree(&mut layer, &trees.join("busybox"))?;
    for applet in APPLETS {
        layer.hard_link(&format!("bin/{applet}"), "bin/busybox");
    }
    Ok(layer)
}

/// The images that are there for their names and configurations; containers of some are made, and
/// removed while they run: with one that is about to end, containerd 2.3's `RemoveContainer` may
/// find no task to stop and a state that says it runs.
fn small(out: Images<'_>) -> Result<()> {
    let sleep = json!({ "Cmd": ["sleep", "600"] });
    let with_file = |name: &str| {
        let mut layer = surroundings();
        layer.program("bin/busybox", busybox()?);
        for applet in ["id", "sh", "sleep"] {
            layer.link(&format!("bin/{applet}"), "busybox");
        }
        layer.file("name", name.as_bytes());
        anyhow::Ok(layer)
    };
    for name in PULLED {
        out.write(STAGING, name, &with_file(name)?, sleep.clone())?;
    }
    for name in TAGS {
        out.write(STAGING, name, &with_file("test-image-tags")?, sleep.clone())?;
    }
    let users = USERS
        .iter()
        .chain(&[("test-image-predefined-group", "1000")]);
    for (name, user) in users {
        let config = json!({ "Cmd": ["sleep", "600"], "User": user });
        let tagged = format!("{name}:latest");
        out.write(STAGING, &tagged, &with_file(name)?, config)?;
    }
    Ok(())
}

/// The folders and users that every image has.
fn surroundings() -> Layer {
    let mut layer = Layer::default();
    for path in [
        "bin", "etc", "root", "run", "srv", "usr", "usr/bin", "usr/sbin", "var",
    ] {
        layer.folder(path);
    }
    layer.shared_folder("tmp").link("var/run", "/run");
    layer.file("srv/index.html", b"<h1>It works!</h1>\n");
    layer.file(
        "etc/passwd",
        b"root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n\
          default-user:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    );
    layer.file(
        "etc/group",
        b"root:x:0:\nwww-data:x:33:\nusers:x:100:\ndefault-user:x:1000:\n\
          group-defined-in-image:x:50000:default-user\nnogroup:x:65534:\n",
    );
    layer
}

/// Where archives go.
#[derive(Clone, Copy)]
struct Images<'a>(&'a Path);

impl Images<'_> {
    fn write(self, registry: &str, name: &str, layer: &Layer, mut config: Value) -> Result<()> {
        config["Env"] = json!([PATH]);
        let file = self.0.join(format!("{}.tar", name.replace(':', "-")));
        oci::write(&file, &format!("{registry}/{name}"), layer, config)
    }
}

/// Adds all files below a folder, at their paths.
fn add_tree(layer: &mut Layer, root: &Path) -> Result<()> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.strip_prefix(root)?.display().to_string();
            if path.is_dir() {
                layer.folder(&name);
                folders.push(path);
            } else {
                layer.program(&name, fs::read(&path)?);
            }
        }
    }
    Ok(())
}
