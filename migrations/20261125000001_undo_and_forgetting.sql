-- Undo (SPEC §3.5), people recognised under a new ID (§3.3), and forgetting (§3.7).

ALTER TABLE import_runs
    ADD COLUMN keep_ids boolean NOT NULL DEFAULT false,
    ADD COLUMN forced boolean NOT NULL DEFAULT false,
    ADD COLUMN emptied_groups text[];
COMMENT ON COLUMN import_runs.keep_ids IS 'Of an approval: people recognised under a new ID keep their record, which gets that ID.';
COMMENT ON COLUMN import_runs.forced IS 'Of a revert: contacts that were changed since are put back all the same.';
COMMENT ON COLUMN import_runs.emptied_groups IS 'Names of the groups that lost, or of a held run would lose, all their members.';

ALTER TABLE import_changes ADD COLUMN same_as bigint;
COMMENT ON COLUMN import_changes.same_as IS 'Of an addition: the contact, gone from the file, that looks like the same person under another ID.';

ALTER TABLE contacts ADD COLUMN purged_at timestamptz;
COMMENT ON COLUMN contacts.purged_at IS 'When it was blanked instead of deleted, because another table still points at it.';
CREATE INDEX contacts_to_purge_idx ON contacts (removed_at) WHERE removed_at IS NOT NULL AND purged_at IS NULL;
CREATE INDEX import_runs_finished_idx ON import_runs (finished_at);
CREATE INDEX mail_outbox_ended_idx ON mail_outbox (created_at) WHERE sent_at IS NOT NULL OR failed_at IS NOT NULL;

-- Looks at every foreign key on contacts but ours, whatever it does on deletion: rows of other programs are not to vanish
-- with a contact, nor to lose whom they mean.
CREATE FUNCTION contacts_in_use(ids bigint[]) RETURNS SETOF bigint
    LANGUAGE plpgsql STABLE
    AS $$
    DECLARE
        reference record;
    BEGIN
        FOR reference IN
            SELECT c.conrelid::regclass AS source, a.attname AS name
            FROM pg_catalog.pg_constraint c
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
            WHERE c.contype = 'f' AND c.confrelid = 'contacts'::regclass
              AND c.conrelid NOT IN ('contact_numbers'::regclass, 'group_members'::regclass)
        LOOP
            RETURN QUERY EXECUTE format(
                'SELECT DISTINCT %I::bigint FROM %s WHERE %I = ANY ($1)', reference.name, reference.source, reference.name)
                USING ids;
        END LOOP;
    END
    $$;
COMMENT ON FUNCTION contacts_in_use(bigint[]) IS 'Which of these contacts tables of other programs point at.';

-- A contact's digest tells its groups by their keys, so another program that writes a group makes those of its members void.
CREATE FUNCTION clear_member_digests() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        UPDATE contacts SET digest = NULL
        WHERE id IN (SELECT contact_id FROM group_members WHERE group_id IN (OLD.id, NEW.id)) AND digest IS NOT NULL;
        RETURN NULL;
    END
    $$;
COMMENT ON FUNCTION clear_member_digests() IS 'Trigger: members of a group that something else wrote are compared field by field.';
CREATE TRIGGER clear_member_digests AFTER UPDATE ON groups FOR EACH ROW
    WHEN (current_setting('rosterd.writer', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION clear_member_digests();

-- FOR SHARE: a transaction that began to write while imports were off, and an enabling or an import, wait for each other.
CREATE OR REPLACE FUNCTION check_foreign_write(account bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
    DECLARE
        found record;
    BEGIN
        SELECT a.name, a.import_enabled, split_part(split_part(s.url, '?', 1), '#', 1) AS url INTO found
        FROM accounts a LEFT JOIN import_settings s ON s.account_id = a.id
        WHERE a.id = account
        FOR SHARE OF a;
        IF found.import_enabled THEN
            RAISE EXCEPTION 'contacts and groups of account "%" are managed by an import from %', found.name,
                coalesce(found.url, 'a spreadsheet')
                USING ERRCODE = 'insufficient_privilege',
                      HINT = 'Change the spreadsheet there, or switch the import off first: '
                             || format('rosterd account disable %s', account);
        END IF;
        PERFORM forget_applied_file(account);
    END
    $$;

-- No row trigger sees what TRUNCATE takes away.
CREATE OR REPLACE FUNCTION guard_truncate() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF EXISTS (SELECT FROM accounts WHERE import_enabled) THEN
            RAISE EXCEPTION 'table % cannot be truncated: it holds contacts or groups of accounts that are managed by an import', TG_TABLE_NAME
                USING ERRCODE = 'insufficient_privilege',
                      HINT = 'Switch the imports off first: rosterd account disable ACCOUNT';
        END IF;
        IF TG_TABLE_NAME <> 'contacts' THEN
            UPDATE contacts SET digest = NULL WHERE digest IS NOT NULL;
        END IF;
        RETURN NULL;
    END
    $$;

-- A copy of a contact is not what was imported, whatever its columns say.
CREATE FUNCTION clear_copied_digest() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        UPDATE contacts SET digest = NULL WHERE id = NEW.id;
        RETURN NULL;
    END
    $$;
COMMENT ON FUNCTION clear_copied_digest() IS 'Trigger: a contact that something else made has no digest.';
CREATE TRIGGER clear_copied_digest AFTER INSERT ON contacts FOR EACH ROW
    WHEN (NEW.digest IS NOT NULL AND current_setting('rosterd.writer', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION clear_copied_digest();
