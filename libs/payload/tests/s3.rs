//! Payloads in S3: a real server of that protocol, in this process.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{path::PathBuf, time::Duration};

use common::{Fixture, OPTIONS, bytes, object_of};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tidegate_model::{Namespace, Reason, ServiceError as _};
use tidegate_payload::{ObjectStorage, ObjectStorageConfig, Options, PresignedRequest};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

const BUCKET: &str = "payloads";

struct S3 {
    endpoint: String,
    folder: tempfile::TempDir,
    _server: AbortOnDropHandle<()>,
}

impl S3 {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let service = {
            let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
            builder.set_auth(SimpleAuth::from_single("key", "secret"));
            builder.build()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serve = async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let service = service.clone();
                connections.spawn(async move {
                    // A client that closes its connection is no fault.
                    let _ = Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        };
        let server = AbortOnDropHandle::new(tokio::runtime::Handle::current().spawn(serve));
        Self { endpoint, folder, _server: server }
    }

    fn config(&self) -> ObjectStorageConfig {
        ObjectStorageConfig {
            url: format!("s3://{BUCKET}/tidegate/test"),
            endpoint: self.endpoint.clone(),
            region: "us-east-1".to_owned(),
            access_key_id: "key".to_owned(),
            secret_access_key: "secret".to_owned().try_into().unwrap(),
            allow_http: true,
        }
    }

    async fn fixture(&self) -> Fixture {
        assert_eq!(self.config().faults(), Vec::<String>::new());
        Fixture::new(ObjectStorage::open(&self.config()).unwrap()).await
    }

    /// Where an object of the default namespace is on the server's disk.
    fn path(&self, id: tidegate_model::ObjectId) -> PathBuf {
        let key = ObjectStorage::key(&Namespace::default(), id);
        self.folder.path().join(BUCKET).join("tidegate/test").join(key)
    }

    /// Whether the server has bytes of this object, wherever.
    fn holds(&self, id: tidegate_model::ObjectId) -> bool {
        let path = self.path(id);
        let Ok(folder) = std::fs::read_dir(path.parent().unwrap()) else { return false };
        let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.into_iter().any(|name| name.starts_with(&id.to_string()))
    }
}

/// As a client would that knows nothing but the request.
async fn send(request: &PresignedRequest, body: bytes::Bytes) -> reqwest::Response {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let method: reqwest::Method = request.method.parse().unwrap();
    let mut sending = reqwest::Client::new().request(method, &request.url).body(body);
    for (name, value) in &request.headers {
        sending = sending.header(*name, value);
    }
    sending.send().await.unwrap()
}

#[tokio::test]
async fn bytes_go_through_and_come_back_in_parts_too() {
    let s3 = S3::start().await;
    let fixture = s3.fixture().await;
    for n_bytes in [70_000, 19 << 20] {
        let data = bytes(n_bytes);
        let object = fixture.payloads.put(&Namespace::default(), data.clone(), None).await.unwrap();
        assert_eq!(std::fs::read(s3.path(object.id)).unwrap(), data);
        assert_eq!(fixture.read(object.id).await.unwrap(), data);
    }
}

#[tokio::test]
async fn a_reader_may_take_its_time() {
    let s3 = S3::start().await;
    let fixture = s3.fixture().await;
    let data = bytes(19 << 20);
    let object = fixture.payloads.put(&Namespace::default(), data.clone(), None).await.unwrap();
    let mut download = fixture.payloads.download(&Namespace::default(), object.id).await.unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = download.next().await.unwrap() {
        all.extend_from_slice(&chunk);
        // What the whole may take has no bound, as long as bytes come when they are asked for.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(600)).await;
        tokio::time::resume();
    }
    assert_eq!(all, data);
}

#[tokio::test]
async fn a_client_uploads_and_downloads_by_presigned_requests_alone() {
    let s3 = S3::start().await;
    let fixture = s3.fixture().await;
    let own = Namespace::default();
    let data = bytes(5 << 20);
    let object = object_of(&data);
    let put = fixture.payloads.announce(&own, object).await.unwrap().expect("S3 signs");
    assert_eq!(put.method, "PUT");
    assert!(!put.url.contains("secret"), "{}", put.url);

    let early = fixture.payloads.complete(&own, object.id, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(early.reason(), Reason::ChecksumMismatch, "nothing is there yet");
    assert!(send(&put, data.clone()).await.status().is_success());
    assert_eq!(
        fixture.read(object.id).await.unwrap_err().reason(),
        Reason::PayloadNotFound,
        "nobody has checked it"
    );
    for _ in 0..2 {
        assert_eq!(
            fixture.payloads.complete(&own, object.id, &CancellationToken::new()).await.unwrap(),
            object
        );
    }
    assert_eq!(std::fs::read(s3.path(object.id)).unwrap(), data);

    let (told, get) = fixture.payloads.presigned_download(&own, object.id).await.unwrap();
    assert_eq!(told, object);
    let response = send(&get.expect("S3 signs"), bytes::Bytes::new()).await;
    assert!(response.status().is_success());
    assert_eq!(response.bytes().await.unwrap(), data);
}

#[tokio::test]
async fn a_finished_upload_cannot_be_written_over() {
    let s3 = S3::start().await;
    let fixture = s3.fixture().await;
    let own = Namespace::default();
    let data = bytes(1 << 20);
    let object = object_of(&data);
    let put = fixture.payloads.announce(&own, object).await.unwrap().unwrap();
    assert!(send(&put, data.clone()).await.status().is_success());
    fixture.payloads.complete(&own, object.id, &CancellationToken::new()).await.unwrap();
    assert_eq!(fixture.payloads.announce(&own, object).await.unwrap(), None, "its bytes are there");

    // The first request is granted for a while yet, to whoever has it.
    for late in [data.clone(), data.slice(1..), bytes(2 << 20)] {
        send(&put, late).await;
        assert_eq!(
            fixture.payloads.complete(&own, object.id, &CancellationToken::new()).await.unwrap(),
            object
        );
        assert_eq!(fixture.read(object.id).await.unwrap(), data);
    }
}

#[tokio::test]
async fn a_presigned_upload_is_granted_for_the_announced_bytes_alone() {
    let s3 = S3::start().await;
    let fixture = s3.fixture().await;
    let data = bytes(1 << 20);
    let put = fixture.payloads.announce(&Namespace::default(), object_of(&data)).await.unwrap().unwrap();
    for other in [data.slice(1..), bytes(2 << 20)] {
        assert_eq!(send(&put, other).await.status(), reqwest::StatusCode::BAD_REQUEST);
    }
    let unsaid = PresignedRequest { headers: Vec::new(), ..put.clone() };
    assert_eq!(send(&unsaid, data.clone()).await.status(), reqwest::StatusCode::FORBIDDEN);
    assert!(send(&put, data).await.status().is_success());
}

#[tokio::test]
async fn a_backend_that_cannot_sign_takes_uploads_all_the_same() {
    let google = ObjectStorageConfig {
        url: "gs://bucket/prefix".to_owned(),
        endpoint: String::new(),
        region: String::new(),
        access_key_id: String::new(),
        secret_access_key: String::new().try_into().unwrap(),
        allow_http: false,
    };
    // It signs for seven days at most, and refuses before it asks anyone for a key.
    let too_long = Options { presigned_lifetime: Some(Duration::from_secs(8 * 86_400)), ..OPTIONS };
    let fixture = Fixture::with(ObjectStorage::open(&google).unwrap(), too_long).await;
    let object = object_of(b"x");
    assert_eq!(fixture.payloads.announce(&Namespace::default(), object).await.unwrap(), None);
}

#[tokio::test]
async fn a_presigned_upload_of_other_bytes_never_becomes_usable() {
    let s3 = S3::start().await;
    let fixture = s3.fixture().await;
    let own = Namespace::default();
    let data = bytes(1 << 20);
    let mut other = data.to_vec();
    other[77] ^= 1;
    for sent in [other, data[1..].to_vec()] {
        let object = object_of(&data);
        let put = fixture.payloads.announce(&own, object).await.unwrap().unwrap();
        // One that looks at no checksum.
        let staged = s3.path(object.id).with_extension("upload");
        assert!(send(&put, data.clone()).await.status().is_success());
        std::fs::write(staged, sent).unwrap();
        let refused =
            fixture.payloads.complete(&own, object.id, &CancellationToken::new()).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::ChecksumMismatch);
        assert_eq!(fixture.read(object.id).await.unwrap_err().reason(), Reason::PayloadNotFound);
    }
}

#[tokio::test]
async fn a_presigned_request_is_good_for_its_object_and_its_verb_alone() {
    let s3 = S3::start().await;
    let fixture = s3.fixture().await;
    let own = Namespace::default();
    let (object, other) = (object_of(b"mine"), object_of(b"other"));
    let put = fixture.payloads.announce(&own, object).await.unwrap().unwrap();
    let forged = PresignedRequest {
        url: put.url.replace(&object.id.to_string(), &other.id.to_string()),
        ..put.clone()
    };
    assert_ne!(forged.url, put.url);
    let response = send(&forged, bytes::Bytes::from_static(b"other")).await;
    assert_eq!(response.status(), reqwest::StatusCode::FORBIDDEN);
    assert!(!s3.holds(other.id));

    assert!(send(&put, bytes::Bytes::from_static(b"mine")).await.status().is_success());
    let as_get = PresignedRequest { method: "GET", ..put };
    assert_eq!(send(&as_get, bytes::Bytes::new()).await.status(), reqwest::StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_wrong_upload_leaves_no_object_behind() {
    let s3 = S3::start().await;
    let fixture = s3.fixture().await;
    let data = bytes(18 << 20);
    let object = object_of(&data);
    fixture.payloads.announce(&Namespace::default(), object).await.unwrap();
    let refused = fixture.send(object.id, data.slice(..17 << 20)).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::ChecksumMismatch);
    assert!(!s3.holds(object.id));
}

#[tokio::test]
async fn orphans_are_deleted_from_the_bucket() {
    let day = Duration::from_secs(86_400);
    let s3 = S3::start().await;
    let fixture = s3.fixture().await;
    let own = Namespace::default();
    let object = fixture.payloads.put(&own, bytes(100_000), None).await.unwrap();
    // Uploaded by a client that went away before it had said so.
    let abandoned = object_of(b"abandoned");
    let put = fixture.payloads.announce(&own, abandoned).await.unwrap().unwrap();
    assert!(send(&put, bytes::Bytes::from_static(b"abandoned")).await.status().is_success());
    assert!(s3.holds(object.id) && s3.holds(abandoned.id));

    fixture.clock.advance(day + Duration::from_secs(1));
    assert_eq!(fixture.payloads.collect(day, 100).await.unwrap(), 2);
    assert!(!s3.holds(object.id) && !s3.holds(abandoned.id));
    assert_eq!(fixture.read(object.id).await.unwrap_err().reason(), Reason::PayloadNotFound);
}

#[tokio::test]
async fn a_server_that_is_away_is_a_fault_that_may_pass() {
    let s3 = S3::start().await;
    let mut config = s3.config();
    let fixture = Fixture::new(ObjectStorage::open(&config).unwrap()).await;
    drop(s3);
    let failed = fixture.payloads.put(&Namespace::default(), bytes(70_000), None).await.unwrap_err();
    assert_eq!(failed.reason(), Reason::DependencyUnavailable);
    assert!(failed.retry_after().is_some());
    config.url = "s3://".to_owned();
    assert!(ObjectStorage::open(&config).is_err());
}

#[tokio::test]
async fn google_cloud_and_azure_are_set_up_without_a_request() {
    let azure = ObjectStorageConfig {
        url: "az://container/prefix".to_owned(),
        endpoint: String::new(),
        region: String::new(),
        access_key_id: "account".to_owned(),
        secret_access_key: "c2VjcmV0".to_owned().try_into().unwrap(),
        allow_http: false,
    };
    assert_eq!(azure.faults(), Vec::<String>::new());
    let fixture = Fixture::new(ObjectStorage::open(&azure).unwrap()).await;
    let object = object_of(b"x");
    let put = fixture.payloads.announce(&Namespace::default(), object).await.unwrap().expect("Azure signs");
    assert!(
        put.url.starts_with("https://account.blob.core.windows.net/container/prefix/default/"),
        "{}",
        put.url
    );
    assert_eq!(put.headers, [("x-ms-blob-type", "BlockBlob".to_owned())]);

    let google = ObjectStorageConfig {
        url: "gs://bucket/prefix".to_owned(),
        access_key_id: String::new(),
        secret_access_key: String::new().try_into().unwrap(),
        ..azure
    };
    assert_eq!(google.faults(), Vec::<String>::new());
    ObjectStorage::open(&google).unwrap();
}
