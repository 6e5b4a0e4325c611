-- Pinning the host key of an SFTP server at first use is no edit of the settings: the import that pins it goes on.

CREATE OR REPLACE FUNCTION stamp_settings() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND OLD.sftp_host_key IS NULL
            AND to_jsonb(OLD) - 'sftp_host_key' = to_jsonb(NEW) - 'sftp_host_key'
            AND NEW.sftp_host_key IS NOT NULL THEN
            RETURN NEW;
        END IF;
        NEW.updated_at := clock_timestamp();
        PERFORM forget_applied_file(NEW.account_id);
        RETURN NEW;
    END
    $$;
COMMENT ON COLUMN import_settings.sftp_host_key IS
    'Host key of the SFTP server, as OpenSSH shows it (SHA256:…), pinned when a password was first sent to it; NULL pins the next one.';
