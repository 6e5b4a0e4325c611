//! Why a run failed: the failure codes of SPEC §4, and a failure with its message.

use super::string_enum;

string_enum!(
    /// Code of a failure, as stored in `import_runs.failure_code`.
    FailureCode {
        /// Imports are disabled for the account.
        ImportDisabled = "import_disabled",
        /// The import settings lack a value.
        SettingsIncomplete = "settings_incomplete",
        /// The stored secret cannot be decrypted with the configured keys.
        SecretUnreadable = "secret_unreadable",
        /// The stored secret was entered for another server.
        SecretForOtherOrigin = "secret_for_other_origin",
        /// The network policy forbids the address.
        AddressRefused = "address_refused",
        /// The host name does not resolve.
        NameNotFound = "name_not_found",
        /// The connection failed.
        ConnectFailed = "connect_failed",
        /// The server sent nothing, or too little, in time.
        TimedOut = "timed_out",
        /// The server's certificate is not valid.
        TlsInvalid = "tls_invalid",
        /// The scheme of the address is not supported.
        SchemeRefused = "scheme_refused",
        /// The redirect is not allowed, for example to another scheme.
        RedirectRefused = "redirect_refused",
        /// The number of redirects exceeds the limit.
        TooManyRedirects = "too_many_redirects",
        /// The server refused the user name, password or key.
        Unauthorized = "unauthorized",
        /// The server does not allow reading the file.
        Forbidden = "forbidden",
        /// The file does not exist.
        NotFound = "not_found",
        /// The path is a directory or another object that is not a file.
        NotAFile = "not_a_file",
        /// The server limits the rate of requests.
        RateLimited = "rate_limited",
        /// HTTP status 5xx, or another error of the server.
        ServerError = "server_error",
        /// Any other unexpected HTTP status.
        HttpStatus = "http_status",
        /// The SSH host key is not the pinned one.
        HostKeyChanged = "host_key_changed",
        /// The server violated the protocol.
        ProtocolError = "protocol_error",
        /// The S3 access key ID does not exist.
        S3UnknownKeyId = "s3_unknown_key_id",
        /// The S3 secret key does not match the access key ID.
        S3WrongSecret = "s3_wrong_secret",
        /// The bucket is in another region.
        S3WrongRegion = "s3_wrong_region",
        /// The bucket does not exist.
        S3NoBucket = "s3_no_bucket",
        /// The object is archived and must be restored first.
        S3Archived = "s3_archived",
        /// S3 refused the request because this machine's clock is wrong.
        ClockSkew = "clock_skew",
        /// The file exceeds the size limit.
        TooLarge = "too_large",
        /// The server sent fewer bytes than it announced.
        Incomplete = "incomplete",
        /// The file changed while it was read.
        ChangedWhileReading = "changed_while_reading",
        /// The file is neither .xlsx nor .csv.
        NotASpreadsheet = "not_a_spreadsheet",
        /// The workbook is protected with a password.
        PasswordProtected = "password_protected",
        /// The file is empty.
        EmptyFile = "empty_file",
        /// The workbook is damaged.
        WorkbookUnreadable = "workbook_unreadable",
        /// The workbook exceeds a limit.
        WorkbookTooLarge = "workbook_too_large",
        /// The bytes are not text in a supported encoding.
        Undecodable = "undecodable",
        /// A quotation mark is never closed.
        UnclosedQuote = "unclosed_quote",
        /// The text contains NUL bytes.
        NulByte = "nul_byte",
        /// The header is not the first non-blank row.
        HeaderNotFirst = "header_not_first",
        /// A required column is missing.
        HeaderMissing = "header_missing",
        /// Two columns have the same title.
        HeaderDuplicate = "header_duplicate",
        /// The number of rows exceeds the limit.
        TooManyRows = "too_many_rows",
        /// The file has no contact without errors.
        NoContacts = "no_contacts",
        /// A database operation failed.
        DatabaseError = "database_error",
        /// Another process took over the run, or the settings changed during it.
        LeaseLost = "lease_lost",
        /// The account is quarantined, because its file crashed the process repeatedly.
        SetAside = "set_aside",
        /// A bug in rosterd.
        Internal = "internal",
    }
);

/// A failure as stored and mailed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// Code.
    pub code: FailureCode,
    /// What happened, where, and what to do.
    pub message: String,
}

impl Failure {
    /// A failure with this message.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}
