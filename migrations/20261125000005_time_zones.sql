-- Postgres reads every time zone file it has to say whether a name is one of theirs, which takes longer than an import of
-- a short list. A constraint is asked at every write of the row; this asks only where the time zone is written.
ALTER TABLE accounts DROP CONSTRAINT accounts_time_zone_known;

CREATE FUNCTION check_time_zone() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF new.time_zone <> 'UTC' AND NOT is_time_zone(new.time_zone) THEN
            RAISE EXCEPTION '"%" is not the name of a time zone that this server knows', new.time_zone
                USING ERRCODE = 'check_violation',
                      TABLE = 'accounts', COLUMN = 'time_zone', CONSTRAINT = 'accounts_time_zone_known',
                      HINT = 'Use a name of the IANA database, such as America/Vancouver or UTC.';
        END IF;
        RETURN new;
    END
    $$;
COMMENT ON FUNCTION check_time_zone() IS 'Refuses a time zone that has no IANA name.';

CREATE TRIGGER accounts_time_zone_known BEFORE INSERT OR UPDATE OF time_zone ON accounts
    FOR EACH ROW EXECUTE FUNCTION check_time_zone();
