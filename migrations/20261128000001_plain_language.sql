-- Rewords the comments and messages of the schema in plain, present-day English. The earlier migrations have been applied
-- and can't be edited, so their texts are set again here for the schema as it now is. No table, constraint, trigger or
-- behavior changes: the functions below differ from their last definitions only in comments and in the texts of messages.


-- Types and functions

COMMENT ON TYPE weekday IS 'Day of the week, in the account''s time zone.';

COMMENT ON FUNCTION is_time_zone(text) IS
    'True if the text is an IANA time zone name known to this server. Machine-dependent names such as localtime '
    'and posix/… are rejected.';
COMMENT ON FUNCTION is_sealed(bytea) IS
    'True if the value has the format of a secret encrypted by rosterd: the magic bytes and the minimum length.';
COMMENT ON FUNCTION contacts_in_use(bigint[]) IS
    'Returns the given contact ids that tables outside rosterd reference by a foreign key, whatever its ON DELETE '
    'action. Such contacts are blanked instead of deleted.';
COMMENT ON FUNCTION forget_applied_file(bigint) IS
    'Clears what is stored about the last applied file, which makes the next run of the account read the whole '
    'file.';

COMMENT ON FUNCTION check_foreign_write(bigint) IS
    'Refuses a write by a program other than rosterd while imports are enabled for the account. Otherwise makes '
    'the next run read the whole file.';
CREATE OR REPLACE FUNCTION check_foreign_write(account bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
    DECLARE
        found record;
    BEGIN
        -- If imports are enabled, refuse without waiting for a lock: the caller already has row locks on contacts, and
        -- waiting for a running import that needs those rows would deadlock. If imports are disabled, the lock makes this
        -- write and a concurrent enable or revert wait for each other.
        IF NOT (SELECT import_enabled FROM accounts WHERE id = account) THEN
            PERFORM FROM accounts WHERE id = account FOR SHARE;
        END IF;
        -- The message must not reveal a password: omit a URL that contains "@", and any query or fragment.
        SELECT a.name, a.import_enabled,
               CASE WHEN s.url !~ '@' THEN split_part(split_part(s.url, '?', 1), '#', 1) END AS url INTO found
        FROM accounts a LEFT JOIN import_settings s ON s.account_id = a.id
        WHERE a.id = account;
        IF found.import_enabled THEN
            RAISE EXCEPTION 'contacts and groups of account "%" are managed by an import from %', found.name,
                coalesce(found.url, 'a spreadsheet')
                USING ERRCODE = 'insufficient_privilege',
                      HINT = 'Edit the spreadsheet, or disable imports for the account first: '
                             || format('rosterd account disable %s', account);
        END IF;
        PERFORM forget_applied_file(account);
    END
    $$;

COMMENT ON FUNCTION guard_account_statement() IS
    'Trigger function: refuses writes to contacts and groups by other programs while imports are enabled. Runs '
    'once per statement because a check per row is too slow for large imports.';
CREATE OR REPLACE FUNCTION guard_account_statement() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        touched bigint[];
        account bigint;
    BEGIN
        -- When an account is deleted, its row is deleted before its contacts, so check_foreign_write finds no account
        -- and allows the delete.
        IF TG_OP = 'INSERT' THEN
            touched := ARRAY(SELECT DISTINCT account_id FROM new_rows);
        ELSIF TG_OP = 'DELETE' THEN
            touched := ARRAY(SELECT DISTINCT account_id FROM old_rows);
        ELSE
            touched := ARRAY(SELECT account_id FROM old_rows UNION SELECT account_id FROM new_rows);
        END IF;
        FOREACH account IN ARRAY touched LOOP
            PERFORM check_foreign_write(account);
        END LOOP;
        -- A contact inserted by another program was not imported, even if its digest was copied from an imported one.
        IF TG_OP = 'INSERT' AND TG_TABLE_NAME = 'contacts' THEN
            UPDATE contacts SET digest = NULL WHERE id IN (SELECT id FROM new_rows) AND digest IS NOT NULL;
        END IF;
        RETURN NULL;
    END
    $$;

COMMENT ON FUNCTION guard_contact_statement() IS
    'Trigger function: refuses writes to contact_numbers by other programs while imports are enabled; otherwise '
    'clears the digests of the contacts.';

COMMENT ON FUNCTION guard_member_statement() IS
    'Trigger function: refuses writes to group_members by other programs while imports are enabled for the '
    'account of the contact or the group; otherwise clears the digests of the contacts. A contact and its groups '
    'must belong to the same account.';
CREATE OR REPLACE FUNCTION guard_member_statement() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        contacts_touched bigint[];
        groups_touched bigint[];
        owner record;
    BEGIN
        IF TG_OP = 'INSERT' THEN
            contacts_touched := ARRAY(SELECT DISTINCT contact_id FROM new_rows);
            groups_touched := ARRAY(SELECT DISTINCT group_id FROM new_rows);
        ELSIF TG_OP = 'DELETE' THEN
            -- The group's account is not checked: older versions allowed members from another account, and it must be
            -- possible to delete them.
            contacts_touched := ARRAY(SELECT DISTINCT contact_id FROM old_rows);
        ELSE
            contacts_touched := ARRAY(SELECT contact_id FROM old_rows UNION SELECT contact_id FROM new_rows);
            groups_touched := ARRAY(SELECT group_id FROM old_rows UNION SELECT group_id FROM new_rows);
        END IF;
        FOR owner IN
            SELECT account_id FROM contacts WHERE id = ANY (contacts_touched)
            UNION
            SELECT account_id FROM groups WHERE id = ANY (groups_touched)
        LOOP
            PERFORM check_foreign_write(owner.account_id);
        END LOOP;
        IF TG_OP <> 'DELETE' THEN
            PERFORM FROM new_rows m JOIN contacts c ON c.id = m.contact_id JOIN groups g ON g.id = m.group_id
            WHERE c.account_id <> g.account_id;
            IF FOUND THEN
                RAISE EXCEPTION 'a contact and its groups must belong to the same account'
                    USING ERRCODE = 'check_violation',
                          TABLE = 'group_members', CONSTRAINT = 'group_members_of_one_account';
            END IF;
        END IF;
        UPDATE contacts SET digest = NULL WHERE id = ANY (contacts_touched) AND digest IS NOT NULL;
        RETURN NULL;
    END
    $$;

COMMENT ON FUNCTION guard_truncate() IS
    'Trigger function: refuses TRUNCATE while imports are enabled for any account; otherwise clears the digests '
    'of all contacts.';
CREATE OR REPLACE FUNCTION guard_truncate() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF EXISTS (SELECT FROM accounts WHERE import_enabled) THEN
            RAISE EXCEPTION 'cannot truncate table %: contacts and groups of at least one account are managed by an import', TG_TABLE_NAME
                USING ERRCODE = 'insufficient_privilege',
                      HINT = 'Disable imports for all accounts first: rosterd account disable ACCOUNT';
        END IF;
        -- TRUNCATE does not fire row or transition-table triggers, so the digests are cleared here.
        IF TG_TABLE_NAME <> 'contacts' THEN
            UPDATE contacts SET digest = NULL WHERE digest IS NOT NULL;
        END IF;
        RETURN NULL;
    END
    $$;

COMMENT ON FUNCTION clear_digest() IS
    'Trigger function: clears the digest of a contact that another program updates, because the contact may no '
    'longer match what was imported.';
COMMENT ON FUNCTION clear_member_digests() IS
    'Trigger function: clears the digests of a group''s members when another program updates the group. The '
    'digest of a contact includes the keys of its groups.';

COMMENT ON FUNCTION check_time_zone() IS
    'Trigger function: refuses a time zone that is not an IANA name. A trigger instead of a CHECK because looking '
    'up the name reads all time zone files, and a CHECK would do that on every update of the account.';
CREATE OR REPLACE FUNCTION check_time_zone() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF new.time_zone <> 'UTC' AND NOT is_time_zone(new.time_zone) THEN
            RAISE EXCEPTION 'unknown time zone "%"', new.time_zone
                USING ERRCODE = 'check_violation',
                      TABLE = 'accounts', COLUMN = 'time_zone', CONSTRAINT = 'accounts_time_zone_known',
                      HINT = 'Use an IANA time zone name, such as America/Vancouver or UTC.';
        END IF;
        RETURN new;
    END
    $$;

COMMENT ON FUNCTION follow_account() IS
    'Trigger function: adds import_state for a new account. When imports are enabled, requires confirmation of '
    'the next run and does not catch up missed ones. When the time zone changes, has next_run_at computed again.';
COMMENT ON FUNCTION flag_schedule_edit() IS
    'Trigger function: marks an edited schedule, which makes the daemon compute next_run_at again.';
COMMENT ON FUNCTION delete_changes_of_runs() IS
    'Trigger function: deletes the import_changes of deleted runs. A foreign key would check each of the many '
    'rows that a run inserts.';

COMMENT ON FUNCTION stamp_settings() IS
    'Trigger function: sets updated_at, makes the next run read the whole file, and maintains the pinned SFTP '
    'host keys. Pinning a first host key and encrypting secrets with another key do not count as edits.';
CREATE OR REPLACE FUNCTION stamp_settings() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF NEW.sftp_host_key IS NULL THEN
            NEW.sftp_host_key_kind := NULL;
            NEW.sftp_host_key_of := NULL;
        ELSIF TG_OP = 'UPDATE' AND NEW.sftp_host_key IS DISTINCT FROM OLD.sftp_host_key
            AND NEW.sftp_host_key_of IS NOT DISTINCT FROM OLD.sftp_host_key_of THEN
            -- The key was edited in SQL: it applies to the server in url, and its type is unknown.
            NEW.sftp_host_key_kind := NULL;
            NEW.sftp_host_key_of := NULL;
        END IF;
        -- When another server's key is pinned, keep the previous server's key in case the settings change back.
        IF TG_OP = 'UPDATE' AND NEW.sftp_host_key_of IS DISTINCT FROM OLD.sftp_host_key_of
            AND (NEW.sftp_host_key_of IS NOT NULL OR NEW.source <> 'sftp') THEN
            DELETE FROM sftp_host_keys WHERE account_id = NEW.account_id AND server = NEW.sftp_host_key_of;
            INSERT INTO sftp_host_keys (account_id, server, fingerprint, kind)
            SELECT OLD.account_id, OLD.sftp_host_key_of, OLD.sftp_host_key, OLD.sftp_host_key_kind
            WHERE OLD.sftp_host_key_of IS NOT NULL
            ON CONFLICT (account_id, server) DO UPDATE SET fingerprint = excluded.fingerprint, kind = excluded.kind;
        END IF;
        -- Pinning the first key of a server is not an edit: the run that pins it must be able to continue.
        IF TG_OP = 'UPDATE' AND NEW.sftp_host_key IS NOT NULL
            AND (OLD.sftp_host_key IS NULL
                OR (NEW.sftp_host_key_of IS NOT NULL AND NEW.sftp_host_key_of IS DISTINCT FROM OLD.sftp_host_key_of))
            AND to_jsonb(OLD) - '{sftp_host_key,sftp_host_key_kind,sftp_host_key_of}'::text[]
              = to_jsonb(NEW) - '{sftp_host_key,sftp_host_key_kind,sftp_host_key_of}'::text[] THEN
            RETURN NEW;
        END IF;
        -- Encrypting the same secrets with another key is not an edit either.
        IF TG_OP = 'UPDATE' AND current_setting('rosterd.resealing', true) = 'on'
            AND to_jsonb(OLD) - '{password_sealed,s3_secret_sealed}'::text[]
              = to_jsonb(NEW) - '{password_sealed,s3_secret_sealed}'::text[] THEN
            RETURN NEW;
        END IF;
        -- clock_timestamp(), not now(): a running import detects edits by this time, so no two edits may share it.
        NEW.updated_at := clock_timestamp();
        PERFORM forget_applied_file(NEW.account_id);
        RETURN NEW;
    END
    $$;


-- Accounts

COMMENT ON TABLE accounts IS 'Organizations whose contacts are imported (tenants).';
COMMENT ON COLUMN accounts.id IS 'Account id; never changes.';
COMMENT ON COLUMN accounts.name IS 'Unique name. Not all digits, because commands accept an id or a name.';
COMMENT ON COLUMN accounts.time_zone IS 'IANA time zone of the schedules, for example America/Vancouver.';
COMMENT ON COLUMN accounts.import_enabled IS
    'True: the spreadsheet is the source of truth, and only imports may change contacts and groups. False: other '
    'programs may change them, and imports fail.';
COMMENT ON COLUMN accounts.set_aside_at IS
    'When the account was quarantined because its file repeatedly crashed the import; scheduled imports are '
    'stopped. NULL: not quarantined.';
COMMENT ON COLUMN accounts.set_aside_reason IS 'Why the account was quarantined, as a sentence.';
COMMENT ON COLUMN accounts.created_at IS 'When the account was created.';

COMMENT ON TABLE account_admins IS 'People who receive the email about an account.';
COMMENT ON COLUMN account_admins.account_id IS 'Account.';
COMMENT ON COLUMN account_admins.email IS 'Email address.';
COMMENT ON COLUMN account_admins.name IS 'Name used in the salutation; optional.';
COMMENT ON COLUMN account_admins.notify IS
    'problems: email about errors, held and failed runs only. all: also about runs that removed contacts or '
    'emptied a group.';

COMMENT ON TABLE import_settings IS
    'Where an account''s spreadsheet is fetched from, and the limits above which an import is held for approval.';
COMMENT ON COLUMN import_settings.account_id IS 'Account.';
COMMENT ON COLUMN import_settings.source IS
    'https, https_basic, sftp or s3. Columns that belong to other sources must be NULL.';
COMMENT ON COLUMN import_settings.url IS 'URL of the file, without user name or password.';
COMMENT ON COLUMN import_settings.username IS 'User name (https_basic, sftp).';
COMMENT ON COLUMN import_settings.password_sealed IS
    'Encrypted password (https_basic, sftp), bound to this account, field and origin. Set it with `rosterd '
    'settings set`.';
COMMENT ON COLUMN import_settings.sftp_port IS 'Port of the SFTP server; NULL means 22.';
COMMENT ON COLUMN import_settings.sftp_host_key IS
    'Pinned host key fingerprint of the SFTP server, as OpenSSH shows it (SHA256:…). NULL: the key of the next '
    'connection is pinned.';
COMMENT ON COLUMN import_settings.sftp_host_key_kind IS
    'Algorithm of the pinned host key, by its SSH name. NULL: unknown, for example after the key was edited in '
    'SQL.';
COMMENT ON COLUMN import_settings.sftp_host_key_of IS
    'Server that the pinned host key belongs to (sftp://host:port). NULL: the server in url, for example after '
    'the key was edited in SQL.';
COMMENT ON COLUMN import_settings.s3_region IS 'AWS region, for example ca-central-1.';
COMMENT ON COLUMN import_settings.s3_access_key_id IS 'S3 access key ID.';
COMMENT ON COLUMN import_settings.s3_secret_sealed IS
    'Encrypted S3 secret access key, bound to this account, field and origin. Set it with `rosterd settings set`.';
COMMENT ON COLUMN import_settings.hold_removed_percent IS
    'Hold a run that removes more than this percentage of the contacts and more than hold_removed_count. A run '
    'that removes half or more is always held.';
COMMENT ON COLUMN import_settings.hold_removed_count IS
    'Number of removals that are allowed whatever their percentage, unless they are half or more; see '
    'hold_removed_percent.';
COMMENT ON COLUMN import_settings.hold_changed_percent IS
    'Hold a run that changes the name or the phone numbers of more than this percentage of the contacts, and of '
    'more than 10.';
COMMENT ON COLUMN import_settings.hold_error_percent IS
    'Hold a run in which more than this percentage of the rows have errors, not counting rows that had errors '
    'before.';
COMMENT ON COLUMN import_settings.updated_at IS 'Last edit; set by a trigger.';

COMMENT ON TABLE import_schedules IS
    'Days and times of an account''s scheduled imports. May be edited in SQL; a running daemon picks up changes '
    'within 2 seconds.';
COMMENT ON COLUMN import_schedules.id IS 'Schedule id.';
COMMENT ON COLUMN import_schedules.account_id IS 'Account.';
COMMENT ON COLUMN import_schedules.days IS 'Days of the week, at least one.';
COMMENT ON COLUMN import_schedules.at IS 'Local time in the account''s time zone.';
COMMENT ON COLUMN import_schedules.enabled IS 'False: the schedule is paused.';
COMMENT ON COLUMN import_schedules.next_run_at IS 'Next run, computed by the daemon; NULL until then.';
COMMENT ON COLUMN import_schedules.edited IS
    'True after an edit of the schedule or the time zone, until the daemon has updated next_run_at. Set by '
    'triggers.';

COMMENT ON TABLE sftp_host_keys IS
    'Pinned host keys of SFTP servers that an account used before. The key of the current server is in '
    'import_settings.';
COMMENT ON COLUMN sftp_host_keys.account_id IS 'Account.';
COMMENT ON COLUMN sftp_host_keys.server IS 'Server (sftp://host:port).';
COMMENT ON COLUMN sftp_host_keys.fingerprint IS 'Host key fingerprint, as OpenSSH shows it (SHA256:…).';
COMMENT ON COLUMN sftp_host_keys.kind IS 'Algorithm of the host key, by its SSH name; NULL: unknown.';


-- Runs

COMMENT ON TABLE import_runs IS
    'Import runs, one row per run of one account. INSERT INTO import_runs (account_id) VALUES (…) requests an '
    'import from a running daemon.';
COMMENT ON COLUMN import_runs.id IS 'Run id, as shown by `rosterd runs list`.';
COMMENT ON COLUMN import_runs.account_id IS 'Account.';
COMMENT ON COLUMN import_runs.trigger IS 'What requested the run: schedule, manual, approval or revert.';
COMMENT ON COLUMN import_runs.status IS
    'queued, running, succeeded, unchanged, succeeded_with_issues, held, failed, rejected or superseded.';
COMMENT ON COLUMN import_runs.origin IS
    'source: the file is fetched from the configured source. file: it is a local file passed to `rosterd import '
    '--file`.';
COMMENT ON COLUMN import_runs.due_at IS 'Scheduled time that the run is for; NULL if it was not scheduled.';
COMMENT ON COLUMN import_runs.requested_at IS 'When the run was requested.';
COMMENT ON COLUMN import_runs.started_at IS 'When the last attempt started.';
COMMENT ON COLUMN import_runs.finished_at IS 'When the run ended.';
COMMENT ON COLUMN import_runs.attempts IS
    'Number of times the run was started. More than 1 only if a process died during the run.';
COMMENT ON COLUMN import_runs.lease_owner IS 'Process that owns the run.';
COMMENT ON COLUMN import_runs.lease_until IS
    'When the lease expires unless it is renewed. Another process may then take over the run.';
COMMENT ON COLUMN import_runs.fence IS
    'Fencing token: increases each time the run is started. A process with an older value can''t commit.';
COMMENT ON COLUMN import_runs.subject_run_id IS 'Run that this run approves or reverts.';
COMMENT ON COLUMN import_runs.superseded_by IS 'Run that replaced this held run.';
COMMENT ON COLUMN import_runs.hold_reasons IS 'Codes of the reasons why the run is held; see docs/holds-and-undo.md.';
COMMENT ON COLUMN import_runs.keep_ids IS
    'Approvals: a contact found under a new ID keeps its record, which gets the new ID.';
COMMENT ON COLUMN import_runs.forced IS 'Reverts: also restore contacts that were changed after the reverted run.';
COMMENT ON COLUMN import_runs.emptied_groups IS
    'Names of the groups that lost all their members. Held run: that would lose them.';
COMMENT ON COLUMN import_runs.sha256 IS 'SHA-256 of the file.';
COMMENT ON COLUMN import_runs.etag IS 'ETag of the file, as sent by the server.';
COMMENT ON COLUMN import_runs.size_bytes IS 'File size in bytes.';
COMMENT ON COLUMN import_runs.row_count IS 'Number of data rows in the file, without the header and blank rows.';
COMMENT ON COLUMN import_runs.added IS
    'Number of contacts added. Held run: that would be added (same for the following counts).';
COMMENT ON COLUMN import_runs.updated IS 'Number of contacts updated.';
COMMENT ON COLUMN import_runs.unchanged IS 'Number of contacts without changes.';
COMMENT ON COLUMN import_runs.removed IS 'Number of contacts removed.';
COMMENT ON COLUMN import_runs.revived IS
    'Number of previously removed contacts restored because they are in the file again.';
COMMENT ON COLUMN import_runs.adopted IS
    'Number of contacts without an external ID that were matched to a row and got its ID.';
COMMENT ON COLUMN import_runs.withheld IS
    'Number of contacts not removed, although missing from the file, because a row is unidentified or the file '
    'may be truncated.';
COMMENT ON COLUMN import_runs.errors IS 'Number of issues with severity error.';
COMMENT ON COLUMN import_runs.warnings IS 'Number of issues with severity warning.';
COMMENT ON COLUMN import_runs.contacts_after IS
    'Number of contacts of the account after the run, without removed ones.';
COMMENT ON COLUMN import_runs.failure_code IS 'Fixed code of the failure, for example not_found.';
COMMENT ON COLUMN import_runs.failure_message IS 'Explanation of the failure, as a sentence.';

COMMENT ON TABLE import_state IS
    'State of an account between runs: the last applied file and the current series of failures.';
COMMENT ON COLUMN import_state.account_id IS 'Account.';
COMMENT ON COLUMN import_state.applied_run_id IS 'Last run whose plan was applied.';
COMMENT ON COLUMN import_state.sha256 IS
    'SHA-256 of the last applied file. NULL: read the next file even if it is unchanged.';
COMMENT ON COLUMN import_state.etag IS 'ETag of the last applied file, for conditional requests.';
COMMENT ON COLUMN import_state.last_modified IS 'Last-Modified header of the last applied file, exactly as received.';
COMMENT ON COLUMN import_state.size_bytes IS 'Size of the last applied file in bytes.';
COMMENT ON COLUMN import_state.mtime IS 'Modification time of the last applied file (SFTP).';
COMMENT ON COLUMN import_state.reader_version IS
    'Version of the file reader that read the last applied file. A different version reads an unchanged file '
    'again.';
COMMENT ON COLUMN import_state.must_confirm IS
    'first_import or after_revert: hold the next run if it would remove, change or adopt contacts. NULL: no '
    'confirmation needed.';
COMMENT ON COLUMN import_state.failing_since IS 'When the current series of failed runs began; NULL: there is none.';
COMMENT ON COLUMN import_state.failure_code IS 'Failure code of the current series, as last reported by email.';
COMMENT ON COLUMN import_state.failure_mailed_at IS 'When that failure was last reported by email.';
COMMENT ON COLUMN import_state.final_newline IS
    'True if the last applied CSV file ended with a newline; NULL for xlsx. A later file without one may be '
    'truncated.';
COMMENT ON COLUMN import_state.accepted_rows IS
    'SHA-256 digests of unidentified rows that were accepted by an approval and no longer block removals.';
COMMENT ON COLUMN import_state.known_contacts IS
    'Number of contacts in the row cache (import_rows). NULL: the row cache is invalid.';

COMMENT ON TABLE import_rows IS
    'Row cache: the active contacts after the last applied run, each with a fingerprint of its row. Rows with the '
    'same fingerprint need not be validated and compared again. Stored in chunks.';
COMMENT ON COLUMN import_rows.account_id IS 'Account.';
COMMENT ON COLUMN import_rows.piece IS 'Number of the chunk, from 0.';
COMMENT ON COLUMN import_rows.rows IS
    '24 bytes per contact: a 16-byte row fingerprint (0 if the contact does not come from exactly one row), then '
    'the 8-byte contact id, little-endian.';

COMMENT ON TABLE import_changes IS
    'Changes that a run made to contacts, or would make if it is held or the removal is withheld.';
COMMENT ON COLUMN import_changes.run_id IS
    'Run. Not a foreign key, for speed; a trigger deletes the changes of deleted runs.';
COMMENT ON COLUMN import_changes.contact_id IS
    'Contact; NULL for an addition that was not applied. Not a foreign key, because changes are kept after the '
    'contact is deleted.';
COMMENT ON COLUMN import_changes.external_id IS
    'ID of the contact in the spreadsheet; NULL for a contact created by hand.';
COMMENT ON COLUMN import_changes.action IS 'added, updated, removed, revived or adopted.';
COMMENT ON COLUMN import_changes.applied IS
    'False: the change was not made, because the run is held or the removal is withheld.';
COMMENT ON COLUMN import_changes.row_number IS 'Spreadsheet row of the contact; the first one if there are several.';
COMMENT ON COLUMN import_changes.before IS 'Contact before the run, with its phone numbers and groups.';
COMMENT ON COLUMN import_changes.after IS 'Contact after the run, with its phone numbers and groups.';
COMMENT ON COLUMN import_changes.same_as IS
    'Additions: stored contact, missing from the file, that is probably the same person under another ID.';

COMMENT ON TABLE import_issues IS 'Errors, warnings and notices about the file of a run.';
COMMENT ON COLUMN import_issues.id IS 'Issue id, in the order of the spreadsheet.';
COMMENT ON COLUMN import_issues.run_id IS 'Run.';
COMMENT ON COLUMN import_issues.account_id IS 'Account.';
COMMENT ON COLUMN import_issues.severity IS
    'error: the contact was skipped. warning: the contact was imported. notice: no action needed.';
COMMENT ON COLUMN import_issues.code IS 'Code of the check that found the issue.';
COMMENT ON COLUMN import_issues.row_number IS
    'Row number as shown by the spreadsheet program; NULL for an issue about the whole file.';
COMMENT ON COLUMN import_issues.column_name IS 'Header of the column.';
COMMENT ON COLUMN import_issues.cell IS 'Cell as shown by the spreadsheet program, for example E17.';
COMMENT ON COLUMN import_issues.value IS 'Value of the cell, truncated to 200 characters.';
COMMENT ON COLUMN import_issues.external_id IS 'ID of the contact, if available.';
COMMENT ON COLUMN import_issues.contact_name IS 'Name of the contact, if available.';
COMMENT ON COLUMN import_issues.message IS 'What is wrong and how to fix it, as a sentence.';
COMMENT ON COLUMN import_issues.is_new IS 'False: the last applied or held run had the same issue.';
COMMENT ON COLUMN import_issues.row_digest IS
    'Unidentified rows: SHA-256 of the cells, to find the same row in later files.';


-- Contacts and groups

COMMENT ON TABLE contacts IS 'People who are called out. An import never changes the id of a contact.';
COMMENT ON COLUMN contacts.id IS 'Contact id; never changes. Duty state and phone lines of the platform reference it.';
COMMENT ON COLUMN contacts.account_id IS 'Account.';
COMMENT ON COLUMN contacts.external_id IS
    'ID in the spreadsheet, compared exactly; NULL for a contact created by hand.';
COMMENT ON COLUMN contacts.name IS 'First and last name.';
COMMENT ON COLUMN contacts.organization_name IS 'Organization that the contact is affiliated with.';
COMMENT ON COLUMN contacts.title IS 'Title, accreditations or both.';
COMMENT ON COLUMN contacts.email IS 'Email address, with its case preserved.';
COMMENT ON COLUMN contacts.notification_priority IS 'high, normal or low; determines the order of calls and texts.';
COMMENT ON COLUMN contacts.digest IS
    'Digest of all fields, phone numbers and groups as last imported. NULL after a change by another program.';
COMMENT ON COLUMN contacts.removed_at IS
    'When the contact was removed (soft-deleted). It can be restored until it is purged.';
COMMENT ON COLUMN contacts.purged_at IS
    'When the contact was blanked instead of deleted, because another table still references it.';
COMMENT ON COLUMN contacts.created_at IS 'When the contact was created.';
COMMENT ON COLUMN contacts.updated_at IS 'When the contact was last changed.';
COMMENT ON INDEX contacts_external_id_unique IS
    'External IDs may be longer than an index entry can be, so the index has the first 200 characters and an MD5 '
    'for longer IDs. Not only an MD5, because inserting IDs in order is much faster.';

COMMENT ON TABLE contact_numbers IS 'Phone numbers of contacts, in the order of the spreadsheet.';
COMMENT ON COLUMN contact_numbers.contact_id IS 'Contact.';
COMMENT ON COLUMN contact_numbers.position IS 'Position in the contact''s list of numbers, from 1.';
COMMENT ON COLUMN contact_numbers.number IS 'Phone number: 10 digits of the North American Numbering Plan.';
COMMENT ON COLUMN contact_numbers.number_type IS 'mobile, landline or pager.';
COMMENT ON COLUMN contact_numbers.description IS 'Label of the number, for example work or home.';

COMMENT ON TABLE groups IS
    'Groups of contacts. Created when a file first names them, removed (soft-deleted) when they have no members, '
    'never purged.';
COMMENT ON COLUMN groups.id IS 'Group id; never changes, also when a removed group is restored.';
COMMENT ON COLUMN groups.account_id IS 'Account.';
COMMENT ON COLUMN groups.name IS 'Name as spelled in the spreadsheet.';
COMMENT ON COLUMN groups.name_key IS
    'Case-folded name by which groups are matched. A very long name is shortened and ends with a digest.';
COMMENT ON COLUMN groups.removed_at IS 'When the group was removed because its last member left.';

COMMENT ON TABLE group_members IS
    'Members of groups. Removed contacts keep their memberships, which are needed to restore them.';
COMMENT ON COLUMN group_members.group_id IS 'Group.';
COMMENT ON COLUMN group_members.contact_id IS 'Contact.';

COMMENT ON VIEW active_contacts IS 'Contacts that are not removed; for other programs of the platform.';
COMMENT ON COLUMN active_contacts.id IS 'See contacts.id.';
COMMENT ON COLUMN active_contacts.account_id IS 'See contacts.account_id.';
COMMENT ON COLUMN active_contacts.external_id IS 'See contacts.external_id.';
COMMENT ON COLUMN active_contacts.name IS 'See contacts.name.';
COMMENT ON COLUMN active_contacts.organization_name IS 'See contacts.organization_name.';
COMMENT ON COLUMN active_contacts.title IS 'See contacts.title.';
COMMENT ON COLUMN active_contacts.email IS 'See contacts.email.';
COMMENT ON COLUMN active_contacts.notification_priority IS 'See contacts.notification_priority.';
COMMENT ON COLUMN active_contacts.digest IS 'See contacts.digest.';
COMMENT ON COLUMN active_contacts.removed_at IS 'Always NULL in this view.';
COMMENT ON COLUMN active_contacts.created_at IS 'See contacts.created_at.';
COMMENT ON COLUMN active_contacts.updated_at IS 'See contacts.updated_at.';

COMMENT ON VIEW active_groups IS 'Groups that are not removed; for other programs of the platform.';
COMMENT ON COLUMN active_groups.id IS 'See groups.id.';
COMMENT ON COLUMN active_groups.account_id IS 'See groups.account_id.';
COMMENT ON COLUMN active_groups.name IS 'See groups.name.';
COMMENT ON COLUMN active_groups.name_key IS 'See groups.name_key.';
COMMENT ON COLUMN active_groups.removed_at IS 'Always NULL in this view.';

COMMENT ON VIEW active_group_members IS
    'Memberships whose contact and group are not removed; for other programs of the platform.';
COMMENT ON COLUMN active_group_members.group_id IS 'See group_members.group_id.';
COMMENT ON COLUMN active_group_members.contact_id IS 'See group_members.contact_id.';


-- Mail

COMMENT ON TABLE mail_outbox IS
    'Outgoing email. Queued in the transaction that ends the run, and delivered at least once.';
COMMENT ON COLUMN mail_outbox.id IS 'Message id in this table.';
COMMENT ON COLUMN mail_outbox.run_id IS 'Run that the message reports.';
COMMENT ON COLUMN mail_outbox.account_id IS 'Account that the message is about.';
COMMENT ON COLUMN mail_outbox.recipient IS
    'Email address. One message per recipient, because one refused address must not block the others.';
COMMENT ON COLUMN mail_outbox.message_id IS
    'Message-ID header. The same for every attempt, which lets mail servers detect duplicates.';
COMMENT ON COLUMN mail_outbox.subject IS 'Subject line.';
COMMENT ON COLUMN mail_outbox.body_text IS 'Plain-text body.';
COMMENT ON COLUMN mail_outbox.body_html IS 'HTML body.';
COMMENT ON COLUMN mail_outbox.attachment_name IS 'File name of the attachment, if there is one.';
COMMENT ON COLUMN mail_outbox.attachment IS 'Attachment: all issues as CSV.';
COMMENT ON COLUMN mail_outbox.created_at IS 'When the message was queued.';
COMMENT ON COLUMN mail_outbox.next_attempt_at IS 'Earliest time of the next delivery attempt.';
COMMENT ON COLUMN mail_outbox.attempts IS 'Number of delivery attempts started.';
COMMENT ON COLUMN mail_outbox.sent_at IS 'When the mail server accepted the message.';
COMMENT ON COLUMN mail_outbox.failed_at IS 'When delivery failed permanently.';
COMMENT ON COLUMN mail_outbox.last_error IS 'Last error of the mail server or the connection.';
