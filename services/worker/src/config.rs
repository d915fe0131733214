use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

/// What a pool's worker starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PoolType {
    /// Processes on this machine
    Process,
    /// Containers of a Docker engine
    Docker,
    /// Jobs of a Kubernetes cluster
    Kubernetes,
}

impl PoolType {
    /// As the option has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// The options of `tidegate-worker` and of `tidegate worker start`.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "tidegate-worker",
    version,
    about = "Take runs of a work pool and start them",
    max_term_width = 100
)]
pub struct Options {
    /// Where the api listens
    #[arg(long, env = "TIDEGATE_ADDRESS", default_value = "http://127.0.0.1:4400")]
    pub address: String,
    /// The tenant
    #[arg(long, env = "TIDEGATE_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// The work pool whose runs it takes
    #[arg(long, required_unless_present = "check_health", default_value = "", hide_default_value = true)]
    pub pool: String,
    /// What it starts, to be sure of it: the pool has to say the same
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub pool_type: Option<PoolType>,
    /// Runs at once
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// A queue of the pool to take runs from; may be given several times, the first is served first [default: all]
    #[arg(long = "queue", value_name = "QUEUE")]
    pub queues: Vec<String>,
    /// What tells this worker from others: it gets the runs that require no label which it lacks
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// What people call it; its id begins with that [default: this machine's name]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub name: String,
    /// How long running jobs may go on after the first SIGTERM; a second one ends it at once
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub drain_seconds: u64,
    /// Where it keeps working directories and fetched code [default: ~/.tidegate/worker]
    #[arg(long, env = "TIDEGATE_WORKER_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Docker: where the engine listens [default: unix:///var/run/docker.sock]
    #[arg(long, env = "DOCKER_HOST", value_name = "ADDRESS")]
    pub docker_host: Option<String>,
    /// Kubernetes: which cluster [default: KUBECONFIG, ~/.kube/config, or the account of the worker's own pod]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Docker, Kubernetes: the image of runs whose source and job variables name none
    #[arg(long, env = "TIDEGATE_JOB_IMAGE", value_name = "IMAGE")]
    pub job_image: Option<String>,
    /// Kubernetes: the image, with the programs `tidegate` and `git`, that fetches the code of runs whose source is a repository or
    /// an archive [default: the image of the job]
    #[arg(long, env = "TIDEGATE_SOURCE_IMAGE", value_name = "IMAGE")]
    pub source_image: Option<String>,
    /// Kubernetes: the Secret whose keys are the secrets that jobs may refer to by name alone
    #[arg(long, default_value = "tidegate-jobs", value_name = "NAME")]
    pub job_secret: String,
    /// Kubernetes: another namespace that Jobs may be in (job variable `namespace`), where those of an earlier worker are looked
    /// for as well; may be given again
    #[arg(long = "job-namespace", value_name = "NAME")]
    pub job_namespaces: Vec<String>,
    /// A directory with a file for each secret that jobs may refer to; TIDEGATE_SECRET_<NAME> is looked at as well
    #[arg(long, default_value = "/run/secrets")]
    pub secrets_dir: PathBuf,
    /// Bounds what is kept of fetched code
    #[arg(long, default_value_t = 2_048, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    pub cache_mib: u64,
    /// Below it are `/proc` and `/sys`, by which it knows whom the system has killed for want of memory
    #[arg(skip = PathBuf::from("/"))]
    pub system_root: PathBuf,
    /// Where it says how it is: gRPC health, `/livez`, `/readyz` and `/metrics`. It is ready while it is connected and takes
    /// runs [default: nowhere]
    #[arg(long, env = "TIDEGATE_WORKER_HEALTH_ADDRESS", value_name = "IP:PORT")]
    pub health_address: Option<SocketAddr>,
    /// Ask the worker that has this health address how it is, and exit: 0 if it takes runs, else 1
    #[arg(long, requires = "health_address")]
    pub check_health: bool,
}

impl Options {
    /// How long running jobs may go on after the worker was asked to end.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    /// The labels by their keys.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.labels.iter().cloned().collect()
    }

    /// What it is called: its option, else the name of this machine.
    pub fn name(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let host =
            std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
        host.ok()
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "worker".into())
    }

    /// Where it keeps what it needs.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| {
            let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
            home.join(".tidegate").join("worker")
        })
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("is no label, such as `gpu=a100`".into()),
    }
}
