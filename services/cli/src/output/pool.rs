use std::fmt::Write as _;

use serde_json::{Value, json};
use tidegate_proto::v1::{CountPrecision, GetWorkPoolResponse, WorkPool, WorkPoolSpec, WorkPoolType};

use super::{
    json::{precision_text, time_json},
    queue::{count_text, pause_text},
    table::Table,
    text::printable,
};

/// `pool ls`.
pub fn pool_table(pools: &[WorkPool]) -> String {
    let mut table = Table::new(&["NAME", "TYPE", "QUEUES", "SLOTS", "PAUSED"]);
    for pool in pools {
        let spec = pool.spec.clone().unwrap_or_default();
        let queues = if spec.queues.is_empty() { pool.name.clone() } else { spec.queues.join(", ") };
        table.row(vec![
            printable(&pool.name),
            type_text(spec.r#type()).to_owned(),
            printable(&queues),
            spec.max_slots.map_or_else(|| "no limit".to_owned(), |slots| slots.to_string()),
            pool.pause.as_ref().map(pause_text).unwrap_or_default(),
        ]);
    }
    table.text()
}

/// `pool get`: the pool, and below it what goes on in it.
pub fn pool_detail(found: &GetWorkPoolResponse) -> String {
    let mut text = pool_table(found.work_pool.as_slice());
    let name = found.work_pool.as_ref().map(|pool| printable(&pool.name)).unwrap_or_default();
    // Writing to a String cannot fail.
    let waiting = count_text(found.waiting_runs, found.waiting_precision());
    let _ = writeln!(text, "\n{waiting} runs wait; {} are held", found.held_runs);
    let _ = match found.n_workers {
        Some(0) => writeln!(text, "no live worker: start one with `tidegate worker start --pool {name}`"),
        Some(n) => writeln!(text, "{n} live workers"),
        None => writeln!(text, "task-queue does not answer: how many workers it has is not known"),
    };
    text
}

/// A pool for programs.
pub fn pool_json(pool: &WorkPool) -> Value {
    json!({
        "name": pool.name,
        "spec": spec_json(&pool.spec.clone().unwrap_or_default()),
        "pause": pool.pause.as_ref().map(|pause| json!({
            "paused_at": time_json(pause.paused_at),
            "paused_by": pause.paused_by,
            "reason": pause.reason,
        })),
        "etag": pool.etag,
        "created_at": time_json(pool.created_at),
        "updated_at": time_json(pool.updated_at),
    })
}

fn spec_json(spec: &WorkPoolSpec) -> Value {
    // All fields by name: one that is new cannot be left out.
    let WorkPoolSpec {
        r#type: _,
        description,
        queues,
        max_slots,
        job_template,
        job_variable_schema,
        job_variables,
    } = spec;
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    json!({
        "type": spec.r#type().as_str_name().trim_start_matches("WORK_POOL_TYPE_"),
        "description": description,
        "queues": queues,
        "max_slots": max_slots,
        "job_template": value(job_template),
        "job_variable_schema": value(job_variable_schema),
        "job_variables": value(job_variables),
    })
}

/// The same with what goes on in it.
pub fn pool_detail_json(found: &GetWorkPoolResponse) -> Value {
    let mut value = pool_json(&found.work_pool.clone().unwrap_or_default());
    let is_counted = found.waiting_precision() != CountPrecision::Unspecified;
    value["waiting_runs"] = is_counted.then_some(found.waiting_runs).into();
    value["waiting_precision"] = precision_text(found.waiting_precision()).into();
    value["held_runs"] = found.held_runs.into();
    value["n_workers"] = found.n_workers.into();
    value
}

const fn type_text(pool: WorkPoolType) -> &'static str {
    match pool {
        WorkPoolType::Unspecified => "",
        WorkPoolType::Process => "process",
        WorkPoolType::Docker => "docker",
        WorkPoolType::Kubernetes => "kubernetes",
    }
}

#[cfg(test)]
mod tests {
    use tidegate_proto::v1::QueuePause;

    use super::*;

    #[test]
    fn pools_are_told_with_what_keeps_their_runs() {
        let spec = WorkPoolSpec {
            queues: vec!["urgent".into(), "plain".into()],
            max_slots: Some(3),
            job_variables: r#"{"env":{"A":"1"}}"#.into(),
            ..WorkPoolSpec::default()
        };
        let mut site = WorkPool { name: "site".into(), spec: Some(spec), ..WorkPool::default() };
        site.spec.get_or_insert_default().set_type(WorkPoolType::Process);
        let mut lab = WorkPool { name: "lab".into(), ..WorkPool::default() };
        lab.spec.get_or_insert_default().set_type(WorkPoolType::Kubernetes);
        lab.pause = Some(QueuePause { reason: "repairs".into(), ..QueuePause::default() });
        let table = pool_table(&[site.clone(), lab.clone()]);
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<_> = table.lines().map(cells).collect();
        assert_eq!(lines[0], ["NAME", "TYPE", "QUEUES", "SLOTS", "PAUSED"]);
        assert_eq!(lines[1], ["site", "process", "urgent,", "plain", "3"]);
        assert_eq!(lines[2][..5], ["lab", "kubernetes", "lab", "no", "limit"]);
        assert!(table.contains("repairs"), "{table}");

        let found = |n_workers| GetWorkPoolResponse {
            work_pool: Some(lab.clone()),
            waiting_runs: 7,
            waiting_precision: CountPrecision::Exact.into(),
            held_runs: 2,
            n_workers,
        };
        let uncounted =
            GetWorkPoolResponse { waiting_precision: CountPrecision::Unspecified.into(), ..found(Some(1)) };
        assert!(pool_detail(&uncounted).contains("an unknown number of runs wait"));
        assert_eq!(pool_detail_json(&uncounted)["waiting_runs"], Value::Null);
        let nobody = pool_detail(&found(Some(0)));
        assert!(nobody.contains("7 runs wait; 2 are held"), "{nobody}");
        assert!(nobody.contains("`tidegate worker start --pool lab`"), "{nobody}");
        assert!(pool_detail(&found(None)).contains("is not known"));
        assert_eq!(pool_detail_json(&found(None))["n_workers"], Value::Null);
        let shown = &pool_json(&site)["spec"];
        assert_eq!(shown["type"], "PROCESS");
        assert_eq!(shown["job_variables"], json!({"env": {"A": "1"}}), "values, not texts of them");
        assert_eq!(shown["job_template"], Value::Null);
    }
}
