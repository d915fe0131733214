//! Named values that runs share.

use serde_json::{Value, json};
use tidegate_integration_tests::Suite;
use tidegate_sdk::{core::Error, proto::SetVariableRequest};

use crate::cli::tidegate;

crate::on_both_forms!(variables_outlive_every_process, of_many_processes_that_count_on_none_is_lost,);

async fn variables_outlive_every_process(suite: &mut Suite) {
    let client = suite.client();
    client.set_variable("regions", &["eu", "us"]).await.unwrap();
    client.set_variable("threshold", &2.5).await.unwrap();
    client.set_variable("threshold", &7).await.unwrap();
    suite.kill_everything_and_restart().await;
    assert_eq!(client.variable::<Vec<String>>("regions").await.unwrap().unwrap(), ["eu", "us"]);
    assert_eq!(client.variable::<i64>("threshold").await.unwrap(), Some(7));
    assert_eq!(client.variable::<i64>("unknown").await.unwrap(), None);
    let wrong = client.variable::<i64>("regions").await.unwrap_err();
    assert!(wrong.to_string().contains("`regions` is no i64"), "{wrong}");
    client.delete_variable("regions").await.unwrap();
    client.delete_variable("regions").await.unwrap();
    assert_eq!(client.variable::<Value>("regions").await.unwrap(), None);
}

/// Each adds what it has seen, and tries again where somebody else was faster.
async fn of_many_processes_that_count_on_none_is_lost(suite: &Suite) {
    const N_ADDS: usize = 5;

    async fn add(core: &tidegate_sdk::core::Client) -> Result<(), Error> {
        let seen = core.variable("counter").await?;
        let n: u64 = seen.value_json.parse().unwrap();
        let request = SetVariableRequest {
            name: "counter".to_owned(),
            value_json: (n + 1).to_string(),
            etag: seen.etag,
            ..Default::default()
        };
        core.set_variable(request).await.map(drop)
    }

    suite.client().set_variable("counter", &0).await.unwrap();
    let adders = (0..4).map(|_| suite.client()).map(async |client| {
        for _ in 0..N_ADDS {
            while let Err(error) = add(client.core()).await {
                assert_eq!(error.reason(), "ETAG_MISMATCH", "{error}");
            }
        }
    });
    futures::future::join_all(adders).await;
    assert_eq!(suite.client().variable::<usize>("counter").await.unwrap(), Some(4 * N_ADDS));
}

#[tokio::test]
async fn variables_are_set_shown_listed_and_deleted_by_command() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    let variable = async |args: &[&str]| tidegate(at, &[&["variable"], args].concat()).await;
    let shown = async |args: &[&str]| -> Value {
        let ended = variable(&[args, &["-o", "json"]].concat()).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{args:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let set = shown(&["set", "port", "8080", "--tag", "net", "--description", "of the gate"]).await;
    assert_eq!((&set["value"], &set["tags"]), (&8080.into(), &json!(["net"])));
    assert_eq!(shown(&["set", "zip", "01234", "--text"]).await["value"], "01234");
    assert_eq!(shown(&["set", "region", "eu-west"]).await["value"], "eu-west");
    assert_eq!(variable(&["get", "region"]).await.stdout, "\"eu-west\"\n");
    let exists = variable(&["set", "port", "1"]).await;
    assert_eq!(exists.code, Some(1));
    assert!(exists.stderr.contains("`port`") && exists.stderr.contains("overwrite"), "{}", exists.stderr);
    assert_eq!(shown(&["set", "port", "1", "--overwrite"]).await["value"], 1);
    let names = |listed: &Value| -> Vec<String> {
        listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&shown(&["ls"]).await), ["port", "region", "zip"]);
    assert_eq!(names(&shown(&["ls", "--prefix", "re"]).await), ["region"]);
    assert_eq!(
        names(&shown(&["ls", "--tag", "net"]).await),
        Vec::<String>::new(),
        "it was replaced as a whole"
    );
    assert_eq!(variable(&["ls"]).await.stdout.lines().count(), 4);
    assert_eq!(variable(&["set", "Port", "1"]).await.code, Some(2));
    assert_eq!(shown(&["delete", "port"]).await, json!({ "deleted": "port" }));
    assert_eq!(variable(&["get", "port"]).await.code, Some(3));
    assert_eq!(variable(&["delete", "port"]).await.code, Some(3));
    assert_eq!(variable(&["delete", "port", "--allow-missing"]).await.code, Some(0));
    suite.stop().await;
}
