"""The reader of the bindings of the AWS provider's version 6, which ./tests/run.sh newest relies on."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from bindings import message, number, schemas

# As much as counts of what the package holds for a type.
ROBOT = """
function robotArmToHclTerraform(struct) {
    const attrs = {
        joints: {
            value: cdktn.numberToHclTerraform(struct.joints),
            isBlock: false,
            type: "simple",
            storageClassType: "number",
        },
    };
}
class RobotArmOutputReference extends cdktn.ComplexObject {
    // joints - computed: false, optional: false, required: true
    get joints() {
        return this.getNumberAttribute('joints');
    }
}
class RobotArmList extends cdktn.ComplexList {
    get(index) {
        return new RobotArmOutputReference(this.terraformResource, this.terraformAttribute, index, this.wrapsSet);
    }
}
class RobotSensorOutputReference extends cdktn.ComplexObject {
    // on - computed: true, optional: false, required: false
    get on() {
        return this.getBooleanAttribute('on');
    }
}
class Robot extends cdktn.TerraformResource {
    constructor(scope, id, config) {
        super(scope, id, { terraformGeneratorMetadata: { providerVersion: '6.1.2' } });
    }
    // names - computed: false, optional: true, required: false
    get names() {
        return cdktn.Fn.tolist(this.getListAttribute('names'));
    }
    // sensor - computed: true, optional: true, required: false
    _sensor = new RobotSensorList(this, "sensor", false);
    // tags_all - computed: true, optional: true, required: false
    _tagsAll = new cdktn.StringMap(this, "tags_all");
    // arm - computed: false, optional: true, required: false
    _arm = new ARM
    synthesizeHclAttributes() {
        const attrs = {
            names: {
                value: cdktn.listMapperHcl(cdktn.stringToHclTerraform, false)(this._names),
                isBlock: false,
                type: "set",
                storageClassType: "stringList",
            },
            sensor: {
                value: cdktn.listMapperHcl(robotSensorToHclTerraform, false)(this._sensor.internalValue),
                isBlock: true,
                type: "list",
                storageClassType: "RobotSensorList",
            },
            arm: {
                value: cdktn.listMapperHcl(robotArmToHclTerraform, true)(this._arm.internalValue),
                isBlock: true,
                type: "KIND",
                storageClassType: "HOLDS",
            },
        };
    }
}
//# sourceMappingURL=data:
"""


def robot(tmp_path: Path, code: str) -> tuple[bytes, str]:
    archive = tmp_path / "bindings.tgz"
    with tarfile.open(archive, "w:gz") as files:
        for name in ("other", "robot"):
            member = tarfile.TarInfo(f"package/lib/{name}/index.js")
            member.size = len(code)
            files.addfile(member, io.BytesIO(code.encode()))
    return schemas(archive, {"aws_robot", "aws_gone"})


def attribute(name: str, kind: Any, *flags: int) -> bytes:
    return message(1, name.encode()) + message(2, json.dumps(kind).encode()) + b"".join(number(at, 1) for at in flags)


REQUIRED, OPTIONAL, COMPUTED = 4, 5, 6
SINGLE, LIST, SET = 1, 2, 3


@pytest.mark.parametrize(
    ("arm", "kind", "holds", "nesting"),
    [
        ('RobotArmList(this, "arm", true);', "set", "RobotArmList", number(3, SET)),
        ('RobotArmList(this, "arm", false);', "list", "RobotArmList", number(3, LIST)),
        ('RobotArmOutputReference(this, "arm");', "list", "RobotArmList", number(3, LIST) + number(5, 1)),
        ('RobotArmOutputReference(this, "arm");', "struct", "RobotArm", number(3, SINGLE)),
    ],
)
def test_the_schema_of_a_type_is_read(tmp_path: Path, arm: str, kind: str, holds: str, nesting: bytes) -> None:
    joints = message(2, attribute("joints", "number", REQUIRED))
    block = [
        message(2, attribute("names", ["set", "string"], OPTIONAL)),
        message(2, attribute("sensor", ["list", ["object", {"on": "bool"}]], OPTIONAL, COMPUTED)),
        message(2, attribute("tags_all", ["map", "string"], OPTIONAL, COMPUTED)),
        message(3, message(1, b"arm") + message(2, joints) + nesting),
    ]
    resource = message(1, b"aws_robot") + message(2, message(2, b"".join(block)))
    code = ROBOT.replace("ARM", arm).replace("KIND", kind).replace("HOLDS", holds)
    assert robot(tmp_path, code) == (message(2, resource), "6.1.2")


def test_an_attribute_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^the type of an attribute is not known: _tagsAll = new cdktn\.AnyMap"):
        robot(tmp_path, ROBOT.replace("StringMap", "AnyMap"))
