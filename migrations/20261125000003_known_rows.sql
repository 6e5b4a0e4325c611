-- What is known after an applied run (SPEC §3.4): each active contact, with the row of the file that says all of it. A row
-- that comes again unchanged is neither judged nor compared. Forgotten together with the file.

CREATE TABLE import_rows (
    account_id bigint NOT NULL,
    piece      integer NOT NULL,
    rows       bytea NOT NULL,
    CONSTRAINT import_rows_pkey PRIMARY KEY (account_id, piece),
    CONSTRAINT import_rows_account FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE
);
-- Hashes don't get smaller by compressing.
ALTER TABLE import_rows ALTER COLUMN rows SET STORAGE EXTERNAL;
COMMENT ON TABLE import_rows IS 'The active contacts of an account after its last applied run, each with a mark of its row, in pieces.';
COMMENT ON COLUMN import_rows.account_id IS 'The account.';
COMMENT ON COLUMN import_rows.piece IS 'Order of the pieces, from 0.';
COMMENT ON COLUMN import_rows.rows IS '24 bytes a contact: 16 of a hash of its row (0 where no single row says all of it), 8 of its id, little-endian.';

ALTER TABLE import_state ADD COLUMN known_contacts integer;
COMMENT ON COLUMN import_state.known_contacts IS 'How many contacts import_rows holds for the account; NULL where they are not to be believed.';

CREATE OR REPLACE FUNCTION forget_applied_file(account bigint) RETURNS void
    LANGUAGE sql
    AS $$
        UPDATE import_state
        SET sha256 = NULL, etag = NULL, last_modified = NULL, size_bytes = NULL, mtime = NULL, known_contacts = NULL
        WHERE account_id = account
          AND (sha256 IS NOT NULL OR etag IS NOT NULL OR last_modified IS NOT NULL OR mtime IS NOT NULL
               OR known_contacts IS NOT NULL)
    $$;

-- An ID may be of any length, which a plain index cannot hold: its first 200 characters, and a digest where it is longer.
-- IDs mostly come in order, and what comes in order is put into an index much faster than digests are.
DROP INDEX contacts_external_id_unique;
CREATE UNIQUE INDEX contacts_external_id_unique ON contacts (
    account_id, (left(external_id, 200)) COLLATE "C", (CASE WHEN length(external_id) > 200 THEN md5(external_id) ELSE '' END)
);

-- What a run did goes with the run, as by a foreign key; but none is asked at each of the rows, which only the run itself
-- writes, in the transaction that holds it.
ALTER TABLE import_changes DROP CONSTRAINT import_changes_run;
CREATE FUNCTION delete_changes_of_runs() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        DELETE FROM import_changes WHERE run_id IN (SELECT id FROM old_runs);
        RETURN NULL;
    END
    $$;
COMMENT ON FUNCTION delete_changes_of_runs() IS 'Trigger: deletes what is recorded of the deleted runs.';
CREATE TRIGGER delete_changes AFTER DELETE ON import_runs REFERENCING OLD TABLE AS old_runs
    FOR EACH STATEMENT EXECUTE FUNCTION delete_changes_of_runs();

-- Room in each page for the new version of a contact that changes, so that its indexes need not.
ALTER TABLE contacts SET (fillfactor = 90);

-- The lock looks once at all rows that a statement has written, not at each: asking for a setting takes longer than
-- writing a row, and an import writes hundreds of thousands.
CREATE FUNCTION guard_account_statement() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        touched bigint[];
        account bigint;
    BEGIN
        -- While an account is deleted its row is gone before its contacts are: nothing is found, nothing refused.
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
        -- A copy of a contact is not what was imported, whatever its columns say.
        IF TG_OP = 'INSERT' AND TG_TABLE_NAME = 'contacts' THEN
            UPDATE contacts SET digest = NULL WHERE id IN (SELECT id FROM new_rows) AND digest IS NOT NULL;
        END IF;
        RETURN NULL;
    END
    $$;
COMMENT ON FUNCTION guard_account_statement() IS 'Trigger: the lock on contacts and groups.';

CREATE FUNCTION guard_contact_statement() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        touched bigint[];
        owner record;
    BEGIN
        IF TG_OP = 'INSERT' THEN
            touched := ARRAY(SELECT DISTINCT contact_id FROM new_rows);
        ELSIF TG_OP = 'DELETE' THEN
            touched := ARRAY(SELECT DISTINCT contact_id FROM old_rows);
        ELSE
            touched := ARRAY(SELECT contact_id FROM old_rows UNION SELECT contact_id FROM new_rows);
        END IF;
        FOR owner IN SELECT DISTINCT account_id FROM contacts WHERE id = ANY (touched) LOOP
            PERFORM check_foreign_write(owner.account_id);
        END LOOP;
        UPDATE contacts SET digest = NULL WHERE id = ANY (touched) AND digest IS NOT NULL;
        RETURN NULL;
    END
    $$;
COMMENT ON FUNCTION guard_contact_statement() IS 'Trigger: the lock on numbers and members.';

DO $$
DECLARE
    guarded record;
BEGIN
    FOR guarded IN
        SELECT * FROM (VALUES
            ('contacts', 'guard_account_statement'), ('groups', 'guard_account_statement'),
            ('contact_numbers', 'guard_contact_statement'), ('group_members', 'guard_contact_statement')) AS t (name, guard)
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %I', 'lock_' || guarded.name, guarded.name);
        EXECUTE format(
            'CREATE TRIGGER %I AFTER INSERT ON %I REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
             WHEN (current_setting(''rosterd.writer'', true) IS DISTINCT FROM ''on'') EXECUTE FUNCTION %I()',
            'lock_' || guarded.name || '_insert', guarded.name, guarded.guard);
        EXECUTE format(
            'CREATE TRIGGER %I AFTER UPDATE ON %I REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
             WHEN (current_setting(''rosterd.writer'', true) IS DISTINCT FROM ''on'') EXECUTE FUNCTION %I()',
            'lock_' || guarded.name || '_update', guarded.name, guarded.guard);
        EXECUTE format(
            'CREATE TRIGGER %I AFTER DELETE ON %I REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT
             WHEN (current_setting(''rosterd.writer'', true) IS DISTINCT FROM ''on'') EXECUTE FUNCTION %I()',
            'lock_' || guarded.name || '_delete', guarded.name, guarded.guard);
    END LOOP;
END
$$;
DROP TRIGGER clear_copied_digest ON contacts;
DROP FUNCTION clear_copied_digest();
DROP FUNCTION guard_account_rows();
DROP FUNCTION guard_contact_rows();
