use serde::{Deserialize, Serialize};
use tidegate_service_kit::SecretString;

use crate::storage::Place;

/// Where objects are: the section `object_storage` of the services that reach them, which must agree.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectStorageConfig {
    /// `file:///directory`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
    pub url: String,
    /// Another address than the provider's own. Empty: the provider's.
    pub endpoint: String,
    /// The region of an S3 bucket. Empty: as the environment says.
    pub region: String,
    /// The access key of S3, or the account of Azure. Empty: as the environment says.
    pub access_key_id: String,
    /// The secret of that key. Empty: as the environment says.
    pub secret_access_key: SecretString,
    /// Whether the endpoint may be plain HTTP.
    pub allow_http: bool,
}

impl ObjectStorageConfig {
    /// What is wrong, each as a sentence that names the key.
    pub fn faults(&self) -> Vec<String> {
        let place = match Place::parse(&self.url) {
            Ok(place) => place,
            Err(error) => return vec![format!("object_storage.url: {error}")],
        };
        let mut faults = Vec::new();
        let mut only_for = |key: &str, is_set: bool, places: &[Place], mend: &str| {
            if is_set && !places.contains(&place) {
                faults
                    .push(format!("object_storage.{key} is set, which `{}` does not use: {mend}", self.url));
            }
        };
        let cloud = [Place::S3, Place::GoogleCloud, Place::Azure];
        only_for("endpoint", !self.endpoint.is_empty(), &cloud, "leave it empty");
        only_for("allow_http", self.allow_http, &cloud, "set it to false");
        only_for("region", !self.region.is_empty(), &[Place::S3], "leave it empty");
        let keyed = [Place::S3, Place::Azure];
        let by_environment = "leave it empty; Google Cloud takes its service account from the environment";
        only_for("access_key_id", !self.access_key_id.is_empty(), &keyed, by_environment);
        only_for("secret_access_key", !self.secret_access_key.expose().is_empty(), &keyed, by_environment);
        if self.access_key_id.is_empty() != self.secret_access_key.expose().is_empty() {
            faults.push(
                "object_storage.access_key_id and secret_access_key belong together: set both or none"
                    .to_owned(),
            );
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> ObjectStorageConfig {
        ObjectStorageConfig {
            url: url.to_owned(),
            endpoint: String::new(),
            region: String::new(),
            access_key_id: String::new(),
            secret_access_key: String::new().try_into().unwrap(),
            allow_http: false,
        }
    }

    #[test]
    fn every_place_has_a_url() {
        for url in ["file:///var/lib/x", "memory:///", "s3://bucket/a/b", "gs://bucket", "az://container"] {
            assert_eq!(config(url).faults(), Vec::<String>::new(), "{url}");
        }
    }

    #[test]
    fn what_would_be_ignored_is_a_fault() {
        for url in ["", "payloads", "ftp://host/x", "http://host/x"] {
            let faults = config(url).faults();
            assert!(faults.len() == 1 && faults[0].starts_with("object_storage.url: "), "{url}: {faults:?}");
        }
        let local = ObjectStorageConfig {
            endpoint: "http://127.0.0.1:9000".to_owned(),
            region: "eu-west-1".to_owned(),
            access_key_id: "key".to_owned(),
            allow_http: true,
            ..config("file:///var/lib/x")
        };
        let faults = local.faults();
        for key in ["endpoint", "region", "access_key_id", "allow_http", "belong together"] {
            assert!(faults.iter().any(|fault| fault.contains(key)), "{key}: {faults:?}");
        }
    }
}
