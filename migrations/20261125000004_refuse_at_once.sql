-- A write that the lock refuses is refused before it waits for anything: it has locked contacts already, which a running
-- import may want, and the two would wait for each other. Only where imports are off it waits, for an enabling or a revert.
CREATE OR REPLACE FUNCTION check_foreign_write(account bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
    DECLARE
        found record;
    BEGIN
        IF NOT (SELECT import_enabled FROM accounts WHERE id = account) THEN
            PERFORM FROM accounts WHERE id = account FOR SHARE;
        END IF;
        SELECT a.name, a.import_enabled, split_part(split_part(s.url, '?', 1), '#', 1) AS url INTO found
        FROM accounts a LEFT JOIN import_settings s ON s.account_id = a.id
        WHERE a.id = account;
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
