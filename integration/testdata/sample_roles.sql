-- The roles that the sample databases mention.
DO $$
DECLARE r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['shop_app', 'shop_readonly'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN
            EXECUTE format('CREATE ROLE %I', r);
        END IF;
    END LOOP;
END $$;
