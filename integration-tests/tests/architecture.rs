//! The arrows between the crates point one way. A new arrow is a design change: it changes this table.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// What each crate may use of this project, as `STYLE` draws it (`a <- b`: b uses a). A service may name adapters
/// in its module `standalone` alone, which the last test holds.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("proto", &[]),
    ("pulse", &[]),
    ("service-kit", &["model", "pulse"]),
    ("schema", &[]),
    ("schedule", &["model"]),
    ("orchestration", &["model"]),
    ("store", &["model", "orchestration"]),
    ("store-postgres", &["model", "orchestration", "store"]),
    ("store-sqlite", &["model", "orchestration", "store"]),
    ("delivery", &["model"]),
    ("delivery-memory", &["delivery", "model"]),
    ("delivery-redis", &["delivery", "model"]),
    ("filter", &["model", "orchestration", "store"]),
    ("engine", &["filter", "model", "orchestration", "pulse", "store"]),
    ("payload", &["model", "service-kit", "store"]),
    ("webhook", &["model"]),
    ("wire", &["model", "orchestration", "proto"]),
    ("deploy", &["engine", "model", "orchestration", "proto", "schedule", "schema", "store", "wire"]),
    ("dispatch", &["engine", "model", "orchestration", "proto", "service-kit", "wire"]),
    ("testkit", &["model", "orchestration", "store", "delivery"]),
    ("sdk-core", &["proto"]),
    ("sdk-macros", &[]),
    ("sdk", &["proto", "sdk-core", "sdk-macros"]),
    // The server inside of a script or a test is the one that `tidegate dev` is.
    ("python", &["proto", "sdk-core", "suite"]),
    ("worker", &["sdk-core", "service-kit"]),
    (
        "api",
        &[
            "deploy",
            "dispatch",
            "engine",
            "filter",
            "model",
            "orchestration",
            "payload",
            "proto",
            "schedule",
            "schema",
            "service-kit",
            "store",
            "store-postgres",
            "wire",
        ],
    ),
    (
        "scheduler",
        &[
            "deploy",
            "dispatch",
            "engine",
            "filter",
            "model",
            "orchestration",
            "payload",
            "proto",
            "schedule",
            "service-kit",
            "store",
            "store-postgres",
            "webhook",
            "wire",
        ],
    ),
    ("task-queue", &["delivery", "delivery-redis", "model", "proto", "service-kit", "wire"]),
    ("log-ingest", &["model", "proto", "service-kit", "store", "store-postgres", "wire"]),
    (
        "suite",
        &[
            "api",
            "delivery",
            "delivery-memory",
            "log-ingest",
            "model",
            "payload",
            "proto",
            "scheduler",
            "service-kit",
            "store",
            "store-sqlite",
            "task-queue",
        ],
    ),
    (
        "cli",
        &[
            "api",
            "delivery",
            "delivery-memory",
            "delivery-redis",
            "engine",
            "filter",
            "log-ingest",
            "model",
            "payload",
            "proto",
            "schedule",
            "scheduler",
            "schema",
            "sdk",
            "sdk-core",
            "service-kit",
            "store",
            "store-postgres",
            "store-sqlite",
            "suite",
            "task-queue",
            "wire",
            "worker",
        ],
    ),
];

/// Crates from outside that belong to some of ours alone: `(what, who may use it directly)`.
const FOREIGN: &[(&str, &[&str])] = &[
    ("sqlx", &["store-postgres", "store-sqlite", "integration-tests", "bench"]),
    ("tokio-postgres", &["store-postgres", "integration-tests"]),
    ("redis", &["delivery-redis", "integration-tests", "bench", "chaos"]),
    ("pyo3", &["python"]),
    ("clap", &["cli", "service-kit", "worker", "integration-tests", "bench", "chaos"]),
    ("object_store", &["payload", "worker"]),
    ("figment", &["service-kit"]),
    ("jsonschema", &["schema"]),
    ("croner", &["schedule"]),
    ("rrule", &["schedule"]),
];

/// What the pure rules and their vocabulary must not know: async, serialisation, SQL, protobuf, chance.
const IMPURE: &[&str] = &[
    "async-trait",
    "futures",
    "prost",
    "prost-types",
    "rand",
    "redis",
    "serde",
    "serde_json",
    "sqlx",
    "tokio",
    "tokio-util",
    "tonic",
    "tracing",
];

fn workspace() -> Metadata {
    MetadataCommand::new()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // Of this platform alone: the others' packages may never have been downloaded.
        .other_options(["--offline", "--filter-platform", "host-tuple"].map(str::to_owned))
        .exec()
        .expect("cargo describes the workspace")
}

/// Our crates by their name without `tidegate-`.
fn crates(metadata: &Metadata) -> BTreeMap<String, &Package> {
    let short = |package: &Package| package.name.trim_start_matches("tidegate-").to_owned();
    metadata.workspace_packages().into_iter().map(|package| (short(package), package)).collect()
}

fn normal_dependencies(package: &Package) -> BTreeSet<&str> {
    let normal = package.dependencies.iter().filter(|dep| dep.kind == DependencyKind::Normal);
    normal.map(|dep| dep.name.as_str()).collect()
}

#[test]
fn dependencies_between_our_crates_point_one_way() {
    let metadata = workspace();
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for (name, package) in crates(&metadata) {
        if ["integration-tests", "bench", "chaos"].contains(&name.as_str()) {
            continue; // uses whatever it tests or measures
        }
        let allowed = arrows.get(name.as_str());
        let allowed = allowed.unwrap_or_else(|| panic!("crate `{name}` has no row in ARROWS"));
        for dependency in normal_dependencies(package) {
            if let Some(dependency) = dependency.strip_prefix("tidegate-") {
                assert!(allowed.contains(&dependency), "`{name}` must not depend on `{dependency}`");
            }
        }
    }
}

#[test]
fn the_testkit_is_for_tests_alone() {
    for (name, package) in crates(&workspace()) {
        let used = normal_dependencies(package).contains("tidegate-testkit");
        assert!(!used || name == "integration-tests", "`{name}` uses the testkit outside its tests");
    }
}

#[test]
fn sql_redis_and_the_like_stay_in_their_adapters() {
    for (name, package) in crates(&workspace()) {
        for (foreign, users) in FOREIGN {
            let uses = normal_dependencies(package).contains(foreign);
            assert!(!uses || users.contains(&name.as_str()), "`{name}` must not depend on `{foreign}`");
        }
    }
}

#[test]
fn the_rules_are_pure() {
    let metadata = workspace();
    let crates = crates(&metadata);
    for impure in IMPURE {
        for name in ["orchestration", "schedule"] {
            let known = normal_dependencies(crates[name]).contains(impure);
            assert!(!known, "`{name}` must not depend on `{impure}`");
        }
    }
    for transport in ["tonic", "prost", "axum", "http"] {
        for name in
            ["model", "store", "store-postgres", "store-sqlite", "delivery", "delivery-redis", "engine"]
        {
            let known = normal_dependencies(crates[name]).contains(transport);
            assert!(!known, "`{name}` must not depend on `{transport}`");
        }
    }
}

#[test]
fn a_service_names_adapters_in_standalone_alone() {
    for service in ["api", "scheduler", "task-queue", "log-ingest"] {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services").join(service).join("src");
        for file in rust_files(&sources) {
            let inside = file.strip_prefix(&sources).expect("a file of this folder");
            if inside.starts_with("standalone") || inside.ends_with("standalone.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("a source file");
            // A unit test may have one behind what it tests.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for adapter in [
                "tidegate_store_postgres",
                "tidegate_store_sqlite",
                "tidegate_delivery_redis",
                "tidegate_delivery_memory",
            ] {
                assert!(!text.contains(adapter), "{} names the adapter {adapter}", file.display());
            }
        }
    }
}

fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
