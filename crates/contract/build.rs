//! Compiles `proto/` without protoc and keeps the descriptor set (with comments) for reflection.

#![expect(clippy::disallowed_methods, reason = "cargo tells a build script where it is by environment")]

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    for package in fs::read_dir(root.join("entrepot"))? {
        for entry in fs::read_dir(package?.path().join("v1"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "proto") {
                files.push(path);
            }
        }
    }
    files.sort();
    let set = protox::compile(&files, [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), set.encode_to_vec())?;
    let names = tonic_prost_build::Config::new();
    let services = tonic_prost_build::configure().bytes(".").codec_path("crate::codec::Lean");
    services.compile_fds_with_config(set, names)?;
    Ok(())
}
