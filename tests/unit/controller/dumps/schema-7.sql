-- The database of schema-5.sql after a controller of schema 7 had opened it; its root is /srv/terra.
CREATE TABLE about (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "about" VALUES('schema','7');
INSERT INTO "about" VALUES('identity','aab382ab0ab54f187e0b5bd04d88afac');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('7');
CREATE TABLE audit (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	time VARCHAR NOT NULL, 
	refused INTEGER NOT NULL, 
	who VARCHAR NOT NULL, 
	role VARCHAR NOT NULL, 
	address VARCHAR NOT NULL, 
	method VARCHAR NOT NULL, 
	path VARCHAR NOT NULL, 
	action VARCHAR NOT NULL, 
	subject VARCHAR NOT NULL, 
	detail VARCHAR NOT NULL, 
	result VARCHAR NOT NULL
);
CREATE TABLE boots (
	hostname VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	stage VARCHAR NOT NULL, 
	since VARCHAR NOT NULL, 
	report JSON NOT NULL, 
	PRIMARY KEY (hostname, generation)
);
INSERT INTO "boots" VALUES('cm-01',2,'booting','2026-11-26T07:00:00.000Z','{}');
CREATE TABLE golden_volumes (
	token VARCHAR NOT NULL, 
	layout VARCHAR NOT NULL, 
	image VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	described VARCHAR NOT NULL, 
	store VARCHAR NOT NULL, 
	contract INTEGER NOT NULL, 
	volumes JSON NOT NULL, 
	state VARCHAR NOT NULL, 
	used INTEGER NOT NULL, 
	pinned INTEGER NOT NULL, 
	PRIMARY KEY (token), 
	UNIQUE (layout)
);
CREATE TABLE happenings (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	hostname VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	time VARCHAR NOT NULL, 
	text VARCHAR NOT NULL, 
	data JSON NOT NULL
);
INSERT INTO "happenings" VALUES(1,'cm-01',2,'login','2026-11-26T07:00:00.000Z','logs in to its disk','{"address": "10.0.10.50"}');
CREATE TABLE hosts (
	hostname VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	PRIMARY KEY (hostname)
);
INSERT INTO "hosts" VALUES('gone',1);
INSERT INTO "hosts" VALUES('cm-01',2);
INSERT INTO "hosts" VALUES('cm-02',1);
CREATE TABLE "nodes" (
	hostname VARCHAR NOT NULL, 
	mac VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	document JSON NOT NULL, 
	tables JSON NOT NULL, 
	targets JSON NOT NULL, 
	digest VARCHAR NOT NULL, 
	kernel_arguments JSON NOT NULL, 
	problem VARCHAR NOT NULL, 
	layout VARCHAR DEFAULT ('') NOT NULL, 
	since VARCHAR DEFAULT ('') NOT NULL, 
	upgrade JSON NOT NULL, 
	PRIMARY KEY (hostname), 
	UNIQUE (mac)
);
INSERT INTO "nodes" VALUES('cm-01','52:54:00:00:00:01','ready',2,'{"hostname": "cm-01", "mac": "52:54:00:00:00:01", "image": "10.0.10.3:5000/stellarproject/small:6", "groups": [{"label": "os", "disk": [{"device": "/dev/sda", "size": 256}], "subvolumes": [{"name": "home", "path": "/home"}, {"name": "log", "path": "/var/log"}, {"name": "containerd", "path": "/var/lib/containerd"}]}]}','{}','[{"storage": "iscsi", "store": "file", "contract": 2, "target": {"label": "os", "id": 3, "portal": "10.0.10.4", "kernel_arguments": ["ISCSI_INITIATOR=iqn.2024.node.terra.example:cm-01:2", "ISCSI_TARGET_NAME=iqn.2024.san.terra.example.cm-01:fs:2", "ISCSI_TARGET_IP=10.0.10.4", "ISCSI_TARGET_PORT=3260"], "name": "iqn.2024.san.terra.example.cm-01:fs:2", "client": "iqn.2024.node.terra.example:cm-01:2", "data": {}, "volumes": [{"name": "/srv/terra/iscsi/cm-01/0.lun", "size": 256}]}}]','sha256:d74eda20b9c2e39bfd41a45708369d39f55b694e6b00c29082417d21eb0fca97','["boot=terra", "terra.uuid=a9e519fc-63d5-4feb-a629-5b6273cd66d4", "ISCSI_INITIATOR=iqn.2024.node.terra.example:cm-01:2", "ISCSI_TARGET_NAME=iqn.2024.san.terra.example.cm-01:fs:2", "ISCSI_TARGET_IP=10.0.10.4", "ISCSI_TARGET_PORT=3260"]','','','','{}');
INSERT INTO "nodes" VALUES('cm-02','52:54:00:00:00:02','ready',1,'{"hostname": "cm-02", "mac": "52:54:00:00:00:02", "image": "10.0.10.3:5000/stellarproject/small:6", "groups": [{"label": "os", "disk": [{"device": "/dev/sda", "size": 256}], "subvolumes": [{"name": "home", "path": "/home"}, {"name": "log", "path": "/var/log"}, {"name": "containerd", "path": "/var/lib/containerd"}]}, {"label": "data", "type": "raid1", "disk": [{"device": "/dev/sdb", "size": 512}, {"device": "/dev/sdc", "size": 512}], "subvolumes": [{"name": "srv", "path": "/srv"}]}], "btrfs": {}}','{"btrfs": {}}','[{"storage": "iscsi", "store": "file", "contract": 2, "target": {"label": "os", "id": 4, "portal": "10.0.10.4", "kernel_arguments": ["ISCSI_INITIATOR=iqn.2024.node.terra.example:cm-02", "ISCSI_TARGET_NAME=iqn.2024.san.terra.example.cm-02:fs", "ISCSI_TARGET_IP=10.0.10.4", "ISCSI_TARGET_PORT=3260"], "name": "iqn.2024.san.terra.example.cm-02:fs", "client": "iqn.2024.node.terra.example:cm-02", "data": {}, "volumes": [{"name": "/srv/terra/iscsi/cm-02/0.lun", "size": 256}]}}, {"storage": "iscsi", "store": "file", "contract": 2, "target": {"label": "data", "id": 5, "portal": "10.0.10.4", "kernel_arguments": ["terra.target=iqn.2024.san.terra.example.cm-02:data"], "name": "iqn.2024.san.terra.example.cm-02:data", "client": "iqn.2024.node.terra.example:cm-02", "data": {}, "volumes": [{"name": "/srv/terra/iscsi/cm-02/1.lun", "size": 512}, {"name": "/srv/terra/iscsi/cm-02/2.lun", "size": 512}]}}]','sha256:d74eda20b9c2e39bfd41a45708369d39f55b694e6b00c29082417d21eb0fca97','["boot=terra", "terra.uuid=43a52104-c21a-4555-a094-0c588a788c04", "ISCSI_INITIATOR=iqn.2024.node.terra.example:cm-02", "ISCSI_TARGET_NAME=iqn.2024.san.terra.example.cm-02:fs", "ISCSI_TARGET_IP=10.0.10.4", "ISCSI_TARGET_PORT=3260", "terra.target=iqn.2024.san.terra.example.cm-02:data"]','','','','{}');
CREATE TABLE report_tokens (
	digest VARCHAR NOT NULL, 
	hostname VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	place VARCHAR NOT NULL, 
	published FLOAT NOT NULL, 
	boots VARCHAR NOT NULL, 
	PRIMARY KEY (digest)
);
CREATE TABLE target_numbers (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	hostname VARCHAR NOT NULL, 
	label VARCHAR NOT NULL
);
INSERT INTO "target_numbers" VALUES(1,'gone','os');
INSERT INTO "target_numbers" VALUES(2,'cm-01','os');
INSERT INTO "target_numbers" VALUES(3,'cm-01','os');
INSERT INTO "target_numbers" VALUES(4,'cm-02','os');
INSERT INTO "target_numbers" VALUES(5,'cm-02','data');
CREATE TABLE tokens (
	name VARCHAR NOT NULL, 
	role VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	created VARCHAR NOT NULL, 
	last_used VARCHAR NOT NULL, 
	expires VARCHAR NOT NULL, 
	revoked VARCHAR NOT NULL, 
	PRIMARY KEY (name), 
	UNIQUE (digest)
);
CREATE INDEX happenings_of_machine ON happenings (hostname, generation, kind, number);
CREATE INDEX ix_report_tokens_hostname ON report_tokens (hostname);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('target_numbers',5);
INSERT INTO "sqlite_sequence" VALUES('happenings',1);
