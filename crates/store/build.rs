//! Migrations are embedded: a change of one has to rebuild this crate.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
