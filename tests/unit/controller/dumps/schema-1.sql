-- The database of the last controller without Alembic (commit 8f1b6e1) after provisioning and deleting machines; its root is /srv/terra.
CREATE TABLE about (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "about" VALUES('schema','1');
INSERT INTO "about" VALUES('identity','aab382ab0ab54f187e0b5bd04d88afac');
CREATE TABLE hosts (
	hostname VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	PRIMARY KEY (hostname)
);
INSERT INTO "hosts" VALUES('gone',1);
INSERT INTO "hosts" VALUES('cm-01',2);
INSERT INTO "hosts" VALUES('cm-02',1);
CREATE TABLE nodes (
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
	PRIMARY KEY (hostname), 
	UNIQUE (mac)
);
INSERT INTO "nodes" VALUES('cm-01','52:54:00:00:00:01','ready',2,'{"hostname": "cm-01", "mac": "52:54:00:00:00:01", "image": "10.0.10.3:5000/stellarproject/small:6", "groups": [{"label": "os", "disk": [{"device": "/dev/sda", "size": 256}], "subvolumes": [{"name": "home", "path": "/home"}, {"name": "log", "path": "/var/log"}, {"name": "containerd", "path": "/var/lib/containerd"}]}]}','{}','[{"label": "os", "iqn": "iqn.2024.san.terra.example.cm-01:fs:2", "id": 3, "initiator": "iqn.2024.node.terra.example:cm-01:2", "portal": "10.0.10.4", "luns": [{"id": 1, "path": "/srv/terra/iscsi/cm-01/0.lun", "size": 256}], "kernel_arguments": ["ISCSI_INITIATOR=iqn.2024.node.terra.example:cm-01:2", "ISCSI_TARGET_NAME=iqn.2024.san.terra.example.cm-01:fs:2", "ISCSI_TARGET_IP=10.0.10.4", "ISCSI_TARGET_PORT=3260"]}]','sha256:d74eda20b9c2e39bfd41a45708369d39f55b694e6b00c29082417d21eb0fca97','["boot=terra", "terra.uuid=a9e519fc-63d5-4feb-a629-5b6273cd66d4", "ISCSI_INITIATOR=iqn.2024.node.terra.example:cm-01:2", "ISCSI_TARGET_NAME=iqn.2024.san.terra.example.cm-01:fs:2", "ISCSI_TARGET_IP=10.0.10.4", "ISCSI_TARGET_PORT=3260"]','');
INSERT INTO "nodes" VALUES('cm-02','52:54:00:00:00:02','ready',1,'{"hostname": "cm-02", "mac": "52:54:00:00:00:02", "image": "10.0.10.3:5000/stellarproject/small:6", "groups": [{"label": "os", "disk": [{"device": "/dev/sda", "size": 256}], "subvolumes": [{"name": "home", "path": "/home"}, {"name": "log", "path": "/var/log"}, {"name": "containerd", "path": "/var/lib/containerd"}]}, {"label": "data", "type": "raid1", "disk": [{"device": "/dev/sdb", "size": 512}, {"device": "/dev/sdc", "size": 512}], "subvolumes": [{"name": "srv", "path": "/srv"}]}], "btrfs": {}}','{"btrfs": {}}','[{"label": "os", "iqn": "iqn.2024.san.terra.example.cm-02:fs", "id": 4, "initiator": "iqn.2024.node.terra.example:cm-02", "portal": "10.0.10.4", "luns": [{"id": 1, "path": "/srv/terra/iscsi/cm-02/0.lun", "size": 256}], "kernel_arguments": ["ISCSI_INITIATOR=iqn.2024.node.terra.example:cm-02", "ISCSI_TARGET_NAME=iqn.2024.san.terra.example.cm-02:fs", "ISCSI_TARGET_IP=10.0.10.4", "ISCSI_TARGET_PORT=3260"]}, {"label": "data", "iqn": "iqn.2024.san.terra.example.cm-02:data", "id": 5, "initiator": "iqn.2024.node.terra.example:cm-02", "portal": "10.0.10.4", "luns": [{"id": 1, "path": "/srv/terra/iscsi/cm-02/1.lun", "size": 512}, {"id": 2, "path": "/srv/terra/iscsi/cm-02/2.lun", "size": 512}], "kernel_arguments": ["terra.target=iqn.2024.san.terra.example.cm-02:data"]}]','sha256:d74eda20b9c2e39bfd41a45708369d39f55b694e6b00c29082417d21eb0fca97','["boot=terra", "terra.uuid=43a52104-c21a-4555-a094-0c588a788c04", "ISCSI_INITIATOR=iqn.2024.node.terra.example:cm-02", "ISCSI_TARGET_NAME=iqn.2024.san.terra.example.cm-02:fs", "ISCSI_TARGET_IP=10.0.10.4", "ISCSI_TARGET_PORT=3260", "terra.target=iqn.2024.san.terra.example.cm-02:data"]','');
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
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('target_numbers',5);
