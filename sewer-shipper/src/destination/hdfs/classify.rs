//! What the errors of hdfs-native and of Hadoop's servers mean.
//!
//! A server names its error by the Java class, which has been stable for a decade; the text that
//! comes with it has not, and is never looked at. Classes that are not listed are taken for
//! transient: retrying loses nothing, and lag shows it.

use std::io;

use hdfs_native::HdfsError;

use crate::destination::error::Kind;

/// The kind of a failed call, and the label it is counted under.
pub(super) fn classify(error: &HdfsError) -> (Kind, &'static str) {
    match error {
        HdfsError::RPCError(class, _) | HdfsError::FatalRPCError(class, _) => by_class(class),
        HdfsError::IOError(error) => by_connection(error),
        HdfsError::FileNotFound(_) => (Kind::NotFound, "not_found"),
        HdfsError::AlreadyExists(_) => (Kind::AlreadyExists, "already_exists"),
        HdfsError::DataTransferError(_) => (Kind::Transient, "datanode"),
        HdfsError::ChecksumError => (Kind::Transient, "checksum"),
        HdfsError::BlocksNotFound(_) => (Kind::Transient, "blocks_missing"),
        HdfsError::ErasureCodingError(_) => (Kind::Transient, "erasure_coding"),
        // A close whose blocks the NameNode has not yet heard of from enough DataNodes.
        HdfsError::OperationFailed(_) => (Kind::Transient, "incomplete"),
        HdfsError::IsADirectoryError(_) => (Kind::Stuck, "is_a_directory"),
        HdfsError::SASLError(_) | HdfsError::GSSAPIError(..) | HdfsError::NoSASLMechanism => {
            (Kind::Stuck, "authentication")
        }
        HdfsError::UnsupportedErasureCodingPolicy(_) | HdfsError::UnsupportedFeature(_) => {
            (Kind::Stuck, "unsupported")
        }
        HdfsError::InvalidPath(_)
        | HdfsError::InvalidArgument(_)
        | HdfsError::UrlParseError(_)
        | HdfsError::XmlParseError(_)
        | HdfsError::TrashNotEnabled => (Kind::Stuck, "configuration"),
        // The request may have been carried out; only its answer could not be understood.
        HdfsError::InvalidRPCResponse(_) | HdfsError::InternalError(_) => (Kind::Unknown, "client"),
    }
}

/// Connections that were never made carried nothing; of others the outcome is unknown.
fn by_connection(error: &io::Error) -> (Kind, &'static str) {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => (Kind::Transient, "connection"),
        io::ErrorKind::TimedOut => (Kind::Unknown, "timeout"),
        _ => (Kind::Unknown, "connection"),
    }
}

fn by_class(class: &str) -> (Kind, &'static str) {
    match class {
        "java.io.FileNotFoundException" => (Kind::NotFound, "not_found"),
        "org.apache.hadoop.fs.FileAlreadyExistsException"
        | "org.apache.hadoop.hdfs.protocol.AlreadyBeingCreatedException" => {
            (Kind::AlreadyExists, "already_exists")
        }
        "org.apache.hadoop.hdfs.server.namenode.SafeModeException" => {
            (Kind::Transient, "safe_mode")
        }
        "org.apache.hadoop.ipc.StandbyException"
        | "org.apache.hadoop.ipc.ObserverRetryOnActiveException" => (Kind::Transient, "standby"),
        "org.apache.hadoop.hdfs.server.namenode.LeaseExpiredException"
        | "org.apache.hadoop.hdfs.protocol.RecoveryInProgressException"
        | "org.apache.hadoop.hdfs.protocol.RecoveryInProgressException$NonAbortingRecoveryInProgressException" => {
            (Kind::Transient, "lease")
        }
        "org.apache.hadoop.ipc.RetriableException"
        | "org.apache.hadoop.ipc.RpcServerException"
        | "org.apache.hadoop.hdfs.server.namenode.NotReplicatedYetException" => {
            (Kind::Transient, "busy")
        }
        "org.apache.hadoop.hdfs.protocol.QuotaExceededException"
        | "org.apache.hadoop.hdfs.protocol.NSQuotaExceededException"
        | "org.apache.hadoop.hdfs.protocol.DSQuotaExceededException"
        | "org.apache.hadoop.hdfs.protocol.QuotaByStorageTypeExceededException"
        | "org.apache.hadoop.hdfs.protocol.FSLimitException$MaxDirectoryItemsExceededException"
        | "org.apache.hadoop.hdfs.protocol.FSLimitException$PathComponentTooLongException" => {
            (Kind::Stuck, "quota")
        }
        "org.apache.hadoop.security.AccessControlException"
        | "org.apache.hadoop.fs.permission.AccessControlException"
        | "org.apache.hadoop.security.authorize.AuthorizationException" => {
            (Kind::Stuck, "permission")
        }
        "javax.security.sasl.SaslException"
        | "org.ietf.jgss.GSSException"
        | "org.apache.hadoop.security.token.SecretManager$InvalidToken" => {
            (Kind::Stuck, "authentication")
        }
        "org.apache.hadoop.fs.ParentNotDirectoryException"
        | "org.apache.hadoop.fs.PathIsNotDirectoryException"
        | "org.apache.hadoop.fs.InvalidPathException"
        | "org.apache.hadoop.HadoopIllegalArgumentException"
        | "java.lang.IllegalArgumentException" => (Kind::Stuck, "configuration"),
        "org.apache.hadoop.ipc.RPC$VersionMismatch"
        | "org.apache.hadoop.ipc.RpcNoSuchMethodException"
        | "org.apache.hadoop.ipc.RpcNoSuchProtocolException" => (Kind::Stuck, "unsupported"),
        _ => (Kind::Transient, "server"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rpc(class: &str) -> (Kind, &'static str) {
        classify(&HdfsError::RPCError(class.to_owned(), "text is not looked at".to_owned()))
    }

    #[test]
    fn server_errors_are_told_apart_by_java_class() {
        let safe_mode = "org.apache.hadoop.hdfs.server.namenode.SafeModeException";
        assert_eq!(rpc(safe_mode), (Kind::Transient, "safe_mode"));
        let quota = "org.apache.hadoop.hdfs.protocol.DSQuotaExceededException";
        assert_eq!(rpc(quota), (Kind::Stuck, "quota"));
        let permission = "org.apache.hadoop.security.AccessControlException";
        assert_eq!(rpc(permission), (Kind::Stuck, "permission"));
        assert_eq!(rpc("java.io.FileNotFoundException"), (Kind::NotFound, "not_found"));
        assert_eq!(rpc("java.io.IOException"), (Kind::Transient, "server"));
    }

    #[test]
    fn only_a_connection_never_made_has_a_known_outcome() {
        let kind = |kind: io::ErrorKind| classify(&HdfsError::IOError(kind.into())).0;
        assert_eq!(kind(io::ErrorKind::ConnectionRefused), Kind::Transient);
        assert_eq!(kind(io::ErrorKind::ConnectionReset), Kind::Unknown);
        assert_eq!(kind(io::ErrorKind::ConnectionAborted), Kind::Unknown);
        assert_eq!(kind(io::ErrorKind::UnexpectedEof), Kind::Unknown);
        let silent = HdfsError::IOError(io::ErrorKind::TimedOut.into());
        assert_eq!(classify(&silent), (Kind::Unknown, "timeout"));
    }
}
