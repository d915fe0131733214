//! `VariableService` over gRPC.

mod common;

use common::{Api, fields, reason};
use tidegate_proto::v1;
use tonic::{Code, Status};

fn set_to(name: &str, value_json: &str) -> v1::SetVariableRequest {
    v1::SetVariableRequest { name: name.to_owned(), value_json: value_json.to_owned(), ..Default::default() }
}

async fn set(api: &Api, request: v1::SetVariableRequest) -> Result<v1::SetVariableResponse, Status> {
    Ok(api.variables.clone().set_variable(request).await?.into_inner())
}

#[tokio::test]
async fn a_variable_is_set_read_changed_and_deleted() {
    let api = Api::start().await;
    let mut variables = api.variables.clone();
    let full = v1::SetVariableRequest {
        tags: vec!["prod".into()],
        description: "where we are".into(),
        ..set_to("regions", "[\"eu\", 2.50]")
    };
    let made = set(&api, full.clone()).await.expect("is set");
    let variable = made.variable.expect("is told");
    assert!(made.created && variable.created_at.is_some());
    let get = v1::GetVariableRequest { name: "regions".into(), ..Default::default() };
    let got =
        variables.get_variable(get.clone()).await.expect("is there").into_inner().variable.expect("is told");
    assert_eq!(got, variable);
    assert_eq!((got.value_json.as_str(), got.tags.as_slice()), ("[\"eu\", 2.50]", &["prod".to_owned()][..]));

    let exists = set(&api, full.clone()).await.expect_err("is refused");
    assert_eq!((exists.code(), reason(&exists).as_str()), (Code::AlreadyExists, "VARIABLE_EXISTS"));
    assert!(
        exists.message().contains("`regions`") && exists.message().contains("overwrite"),
        "{}",
        exists.message()
    );
    let changed =
        set(&api, v1::SetVariableRequest { etag: variable.etag.clone(), ..set_to("regions", "1") }).await;
    assert!(!changed.expect("is set").created);
    let stale = set(&api, v1::SetVariableRequest { etag: variable.etag.clone(), ..full.clone() }).await;
    assert_eq!(reason(&stale.expect_err("is refused")), "ETAG_MISMATCH");
    set(&api, v1::SetVariableRequest { overwrite: true, ..full }).await.expect("is set");

    let elsewhere = v1::GetVariableRequest { namespace: "elsewhere".into(), ..get };
    let missing = variables.get_variable(elsewhere).await.expect_err("is another tenant's");
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "VARIABLE_NOT_FOUND"));
    let stale =
        v1::DeleteVariableRequest { name: "regions".into(), etag: variable.etag, ..Default::default() };
    let refused = variables.delete_variable(stale.clone()).await.expect_err("is refused");
    assert_eq!(reason(&refused), "ETAG_MISMATCH");
    variables
        .delete_variable(v1::DeleteVariableRequest { etag: String::new(), ..stale.clone() })
        .await
        .expect("is deleted");
    let gone = variables.delete_variable(stale).await.expect_err("is gone");
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test]
async fn variables_are_listed_by_name_prefix_and_tag() {
    let api = Api::start().await;
    for (name, tag) in [("b", "x"), ("a_1", "x"), ("a-2", "y"), ("c", "y")] {
        set(&api, v1::SetVariableRequest { tags: vec![tag.to_owned()], ..set_to(name, "1") })
            .await
            .expect("is set");
    }
    let list = async |request: v1::ListVariablesRequest| {
        let page = api.variables.clone().list_variables(request).await.expect("is a page").into_inner();
        (page.variables.into_iter().map(|variable| variable.name).collect::<Vec<_>>(), page.next_page_token)
    };
    let first = v1::ListVariablesRequest { page_size: 3, ..Default::default() };
    let (names, page_token) = list(first.clone()).await;
    assert_eq!(names, ["a-2", "a_1", "b"]);
    assert_eq!(
        list(v1::ListVariablesRequest { page_token, ..first }).await,
        (vec!["c".to_owned()], String::new())
    );
    let prefixed =
        v1::ListVariablesRequest { name_prefix: "a".into(), tag: "x".into(), ..Default::default() };
    assert_eq!(list(prefixed).await.0, ["a_1"]);

    let names = ["c", "unknown", "b", "c"].map(str::to_owned).to_vec();
    let request = v1::BatchGetVariablesRequest { names, ..Default::default() };
    let found =
        api.variables.clone().batch_get_variables(request).await.expect("answers").into_inner().variables;
    assert_eq!(found.into_iter().map(|variable| variable.name).collect::<Vec<_>>(), ["b", "c"]);
    let many = v1::BatchGetVariablesRequest { names: vec!["a".to_owned(); 51], ..Default::default() };
    let refused = api.variables.clone().batch_get_variables(many).await.expect_err("is refused");
    assert_eq!(fields(&refused), ["names"]);
}

#[tokio::test]
async fn what_is_wrong_is_told_by_its_field() {
    let api = Api::start().await;
    let too_large = format!("\"{}\"", "x".repeat(64 << 10));
    for (request, field, told) in [
        (set_to("Threshold", "1"), "name", "a-z 0-9 _ -"),
        (set_to("a", ""), "value_json", "is empty"),
        (set_to("a", "eu-west"), "value_json", "a text stands in quotes"),
        (set_to("a", "[1,"), "value_json", "is no JSON"),
        (set_to("a", &too_large), "value_json", "at most 65536"),
        (v1::SetVariableRequest { etag: "x".into(), ..set_to("a", "1") }, "etag", "unchanged"),
        (v1::SetVariableRequest { tags: vec![String::new()], ..set_to("a", "1") }, "tags[0]", "1 to 128"),
    ] {
        let refused = set(&api, request).await.expect_err("is refused");
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
        assert!(refused.message().contains(told), "{}", refused.message());
    }
    set(&api, set_to("a", &format!("\"{}\"", "x".repeat((64 << 10) - 2)))).await.expect("just fits");
}
