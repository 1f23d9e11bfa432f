-- What schema-1-first.sql holds, as the same controller has it in PostgreSQL, by pg_dump --inserts.
CREATE TABLE public.about (
    key character varying NOT NULL,
    value character varying NOT NULL
);
CREATE TABLE public.hosts (
    hostname character varying NOT NULL,
    generation integer NOT NULL
);
COMMENT ON TABLE public.hosts IS 'every host name ever provisioned, so that no IQN is used twice';
CREATE TABLE public.nodes (
    hostname character varying NOT NULL,
    mac character varying NOT NULL,
    state character varying NOT NULL,
    generation integer NOT NULL,
    document json NOT NULL,
    tables json NOT NULL,
    targets json NOT NULL,
    digest character varying NOT NULL,
    kernel_arguments json NOT NULL,
    problem character varying NOT NULL
);
CREATE TABLE public.target_numbers (
    number integer NOT NULL,
    hostname character varying NOT NULL,
    label character varying NOT NULL
);
COMMENT ON TABLE public.target_numbers IS 'target numbers, never given twice: rows stay when their node is gone';
CREATE SEQUENCE public.target_numbers_number_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.target_numbers_number_seq OWNED BY public.target_numbers.number;
ALTER TABLE ONLY public.target_numbers ALTER COLUMN number SET DEFAULT nextval('public.target_numbers_number_seq'::regclass);
INSERT INTO public.about VALUES ('schema', '1');
INSERT INTO public.hosts VALUES ('gone', 1);
INSERT INTO public.hosts VALUES ('cm-01', 2);
INSERT INTO public.hosts VALUES ('cm-02', 1);
INSERT INTO public.nodes VALUES ('cm-01', '52:54:00:00:00:01', 'ready', 2, '{"hostname": "cm-01", "mac": "52:54:00:00:00:01", "image": "10.0.10.3:5000/stellarproject/small:6", "groups": [{"label": "os", "disk": [{"device": "/dev/sda", "size": 256}], "subvolumes": [{"name": "home", "path": "/home"}, {"name": "log", "path": "/var/log"}, {"name": "containerd", "path": "/var/lib/containerd"}]}]}', '{}', '[{"label": "os", "iqn": "iqn.2024.san.terra.example.cm-01:fs:2", "id": 3, "initiator": "iqn.2024.node.terra.example:cm-01:2", "portal": "10.0.10.4", "luns": [{"id": 1, "path": "/srv/terra/iscsi/cm-01/0.lun", "size": 256}], "kernel_arguments": ["ISCSI_INITIATOR=iqn.2024.node.terra.example:cm-01:2", "ISCSI_TARGET_NAME=iqn.2024.san.terra.example.cm-01:fs:2", "ISCSI_TARGET_IP=10.0.10.4", "ISCSI_TARGET_PORT=3260"]}]', 'sha256:b7aa91d49ec02d95075b7487190be75ca3e80cbbae07a09fe12b9da6e1772f88', '["boot=terra", "ISCSI_INITIATOR=iqn.2024.node.terra.example:cm-01:2", "ISCSI_TARGET_NAME=iqn.2024.san.terra.example.cm-01:fs:2", "ISCSI_TARGET_IP=10.0.10.4", "ISCSI_TARGET_PORT=3260"]', '');
INSERT INTO public.nodes VALUES ('cm-02', '52:54:00:00:00:02', 'ready', 1, '{"hostname": "cm-02", "mac": "52:54:00:00:00:02", "image": "10.0.10.3:5000/stellarproject/small:6", "groups": [{"label": "os", "disk": [{"device": "/dev/sda", "size": 256}], "subvolumes": [{"name": "home", "path": "/home"}, {"name": "log", "path": "/var/log"}, {"name": "containerd", "path": "/var/lib/containerd"}]}, {"label": "data", "type": "raid1", "disk": [{"device": "/dev/sdb", "size": 512}, {"device": "/dev/sdc", "size": 512}], "subvolumes": [{"name": "srv", "path": "/srv"}]}], "btrfs": {}}', '{"btrfs": {}}', '[{"label": "os", "iqn": "iqn.2024.san.terra.example.cm-02:fs", "id": 4, "initiator": "iqn.2024.node.terra.example:cm-02", "portal": "10.0.10.4", "luns": [{"id": 1, "path": "/srv/terra/iscsi/cm-02/0.lun", "size": 256}], "kernel_arguments": ["ISCSI_INITIATOR=iqn.2024.node.terra.example:cm-02", "ISCSI_TARGET_NAME=iqn.2024.san.terra.example.cm-02:fs", "ISCSI_TARGET_IP=10.0.10.4", "ISCSI_TARGET_PORT=3260"]}, {"label": "data", "iqn": "iqn.2024.san.terra.example.cm-02:data", "id": 5, "initiator": "iqn.2024.node.terra.example:cm-02", "portal": "10.0.10.4", "luns": [{"id": 1, "path": "/srv/terra/iscsi/cm-02/1.lun", "size": 512}, {"id": 2, "path": "/srv/terra/iscsi/cm-02/2.lun", "size": 512}], "kernel_arguments": ["terra.target=iqn.2024.san.terra.example.cm-02:data"]}]', 'sha256:b7aa91d49ec02d95075b7487190be75ca3e80cbbae07a09fe12b9da6e1772f88', '["boot=terra", "ISCSI_INITIATOR=iqn.2024.node.terra.example:cm-02", "ISCSI_TARGET_NAME=iqn.2024.san.terra.example.cm-02:fs", "ISCSI_TARGET_IP=10.0.10.4", "ISCSI_TARGET_PORT=3260", "terra.target=iqn.2024.san.terra.example.cm-02:data"]', '');
INSERT INTO public.target_numbers VALUES (1, 'gone', 'os');
INSERT INTO public.target_numbers VALUES (2, 'cm-01', 'os');
INSERT INTO public.target_numbers VALUES (3, 'cm-01', 'os');
INSERT INTO public.target_numbers VALUES (4, 'cm-02', 'os');
INSERT INTO public.target_numbers VALUES (5, 'cm-02', 'data');
SELECT pg_catalog.setval('public.target_numbers_number_seq', 5, true);
ALTER TABLE ONLY public.about
    ADD CONSTRAINT about_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.hosts
    ADD CONSTRAINT hosts_pkey PRIMARY KEY (hostname);
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT nodes_mac_key UNIQUE (mac);
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT nodes_pkey PRIMARY KEY (hostname);
ALTER TABLE ONLY public.target_numbers
    ADD CONSTRAINT target_numbers_pkey PRIMARY KEY (number);
