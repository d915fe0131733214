//! Why no server answers: who reads the error should know at once what to do.

use std::time::Duration;

use http::Uri;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::transport::Channel;

use crate::{
    Error, ErrorKind, Options,
    error::Origin,
    proto::{self, system_service_client::SystemServiceClient},
};

/// How long each question may take. Who waits for the answer has waited for a server before.
const PATIENCE: Duration = Duration::from_secs(1);

/// What was found where a server should be.
#[derive(Debug, PartialEq)]
enum Finding {
    /// No connection, and why.
    Nothing(String),
    /// HTTP/1.1, but no gRPC.
    PlainHttp,
    /// gRPC, but not ours.
    Foreign,
    /// Something that takes connections and says nothing that we understand.
    Silent,
    /// Something that stands before the server, with its words.
    Gateway(String),
}

/// `error`, of a call to a server that has never answered, in words that tell what is there instead.
pub(crate) async fn explain(error: Error, options: &Options, api: &Channel) -> Error {
    let finding = match error.origin() {
        Origin::Explained => return error,
        Origin::Local if error.is_retryable() => look(&options.address).await,
        Origin::Wire if error.is_retryable() => Finding::Gateway(error.message().to_owned()),
        Origin::Wire if is_foreign(&error) => Finding::Foreign,
        Origin::Local | Origin::Wire => return error,
    };
    let speaks = matches!(finding, Finding::PlainHttp | Finding::Silent | Finding::Foreign);
    if speaks && is_tidegate(api.clone()).await {
        return error; // it has come up meanwhile, or is older and does not know the method
    }
    no_server(&finding, options)
}

/// What Tidegate refuses has a reason of its own.
fn is_foreign(error: &Error) -> bool {
    error.reason().is_empty() && matches!(error.kind(), ErrorKind::FailedPrecondition | ErrorKind::Internal)
}

fn no_server(finding: &Finding, options: &Options) -> Error {
    let mut place = options.address.clone();
    if options.address_is_default {
        place.push_str(", where one is looked for while TIDEGATE_ADDRESS is not set");
    }
    let what = match finding {
        Finding::Nothing(why) => format!("no Tidegate server answers at {place} ({why})"),
        Finding::PlainHttp => {
            format!("no Tidegate server answers at {place}: what is there speaks HTTP, but no gRPC")
        }
        Finding::Foreign => {
            format!("no Tidegate server answers at {place}: what is there speaks another gRPC")
        }
        Finding::Silent => {
            format!("no Tidegate server answers at {place}: what is there does not speak gRPC")
        }
        Finding::Gateway(words) => {
            format!("no Tidegate server answers at {place}: what stands before it says `{words}`")
        }
    };
    let start = match finding {
        Finding::PlainHttp | Finding::Foreign | Finding::Silent => {
            "on a free port with `tidegate dev --port 0`"
        }
        Finding::Nothing(_) | Finding::Gateway(_) => "with `tidegate dev`",
    };
    let mend = if options.can_embed {
        "set TIDEGATE_ADDRESS to where one runs, or set TIDEGATE_EPHEMERAL=1 to have one inside of this process"
    } else {
        "or set TIDEGATE_ADDRESS to where one runs"
    };
    Error::new(ErrorKind::Unavailable, format!("{what}. Start one {start}, {mend}.")).explained()
}

/// Goes there by hand: the transport does not tell these cases apart.
async fn look(address: &str) -> Finding {
    let Some(place) = address.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned()) else {
        return Finding::Nothing("it is no address".into());
    };
    let port = place.port_u16().unwrap_or(80);
    let host = place.host().trim_start_matches('[').trim_end_matches(']');
    let mut stream = match timeout(PATIENCE, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Finding::Nothing("connection refused".into());
        }
        Ok(Err(error)) => return Finding::Nothing(error.to_string()),
        Err(_) => return Finding::Nothing(format!("no connection within {PATIENCE:?}")),
    };
    let question = format!("GET / HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n");
    let mut answer = [0; 5];
    let asked = async {
        stream.write_all(question.as_bytes()).await?;
        stream.read_exact(&mut answer).await
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(_)) if &answer == b"HTTP/" => Finding::PlainHttp,
        _ => Finding::Silent,
    }
}

/// False where another program speaks gRPC. An older server may not know a method, but it can say what it is.
async fn is_tidegate(api: Channel) -> bool {
    let mut client = SystemServiceClient::new(api);
    matches!(timeout(PATIENCE, client.get_version(proto::GetVersionRequest {})).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(finding: &Finding, options: &Options) -> String {
        no_server(finding, options).message().to_owned()
    }

    #[test]
    fn what_is_there_and_what_to_do_is_said() {
        let mut options = Options::new("http://10.0.0.1:4400", "").unwrap();
        let refused = Finding::Nothing("connection refused".into());
        assert_eq!(
            message(&refused, &options),
            "no Tidegate server answers at http://10.0.0.1:4400 (connection refused). Start one with `tidegate dev`, or \
             set TIDEGATE_ADDRESS to where one runs."
        );
        assert_eq!(
            message(&Finding::Silent, &options),
            "no Tidegate server answers at http://10.0.0.1:4400: what is there does not speak gRPC. Start one on a free \
             port with `tidegate dev --port 0`, or set TIDEGATE_ADDRESS to where one runs."
        );
        options.address_is_default = true;
        options.can_embed = true;
        assert_eq!(
            message(&refused, &options),
            "no Tidegate server answers at http://10.0.0.1:4400, where one is looked for while TIDEGATE_ADDRESS is not \
             set (connection refused). Start one with `tidegate dev`, set TIDEGATE_ADDRESS to where one runs, or set \
             TIDEGATE_EPHEMERAL=1 to have one inside of this process."
        );
    }
}
