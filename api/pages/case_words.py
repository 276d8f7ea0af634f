"""Words of the pages about cases: stages, steps, lights, and what a step says; see `api.pages.words`."""

from api.pages.words import message
from gis_grid.case_state import CaseLevel, CaseState, Stage
from gis_grid.clocks import Light

STAGES = {
    Stage.ACCEPTED: message("已受理"),
    Stage.FILED: message("已立案"),
    Stage.DISPATCHED: message("已派遣"),
    Stage.TAKEN: message("已接单"),
    Stage.RETURNED: message("已退单"),
    Stage.HANDLED: message("已处置"),
    Stage.REWORK: message("返工中"),
    Stage.CHECKED: message("已核查"),
    Stage.ANSWERED: message("已答复"),
    Stage.CLOSED: message("已结案"),
    Stage.MERGED: message("已并案"),
    Stage.VOID: message("已作废"),
}
NEXT = {
    Stage.ACCEPTED: message("待立案"),
    Stage.FILED: message("待派遣"),
    Stage.DISPATCHED: message("待接单"),
    Stage.TAKEN: message("待处置"),
    Stage.RETURNED: message("待重新派遣"),
    Stage.HANDLED: message("待核查"),
    Stage.REWORK: message("待返工处置"),
    Stage.CHECKED: message("待答复"),
    Stage.ANSWERED: message("待结案"),
}
COMMUNITY_FIRST = message("待居村先行处置")
SUSPENDED = message("挂账中，待恢复")
LIGHTS = {
    Light.BLUE: message("蓝灯·正常"),
    Light.YELLOW: message("黄灯·过半"),
    Light.ORANGE: message("橙灯·将到期"),
    Light.RED: message("红灯·超时"),
}
NO_LIGHT = message("未计时")
LEVELS = {
    CaseLevel.COMMUNITY: message("居村"),
    CaseLevel.TOWN: message("街镇"),
    CaseLevel.DISTRICT: message("全区"),
}
URGENT = message("紧急")
ACTIONS = {
    "accept": message("受理"),
    "file": message("立案"),
    "attempt": message("居村先行处置"),
    "escalate": message("上报上级"),
    "dispatch": message("派遣"),
    "take": message("接单"),
    "return": message("退单"),
    "rule_finally": message("终裁"),
    "transfer": message("移送"),
    "handle": message("处置"),
    "check": message("核查"),
    "answer": message("答复"),
    "close": message("结案"),
    "reopen": message("重新办理"),
    "merge": message("并案"),
    "absorb": message("并入一件案件"),
    "ask_extension": message("申请延期"),
    "ask_suspension": message("申请挂账"),
    "approve": message("批准申请"),
    "deny": message("驳回申请"),
    "resume": message("恢复办理"),
    "void": message("作废"),
    "hand_over": message("移交责任"),
    "join_operation": message("列入联动执法"),
    "leave_operation": message("联动执法取消"),
    "supervise": message("督办"),
    "exchange": message("与110、市平台往来"),
    "relocate": message("随新图层改归网格"),
    "pass_up": message("上送市平台或转110"),
}
# What a step's log tells, in the order it is told.
SAID = {
    "act": message("督办方式"),
    "duty": message("前端职责"),
    "reason_code": message("退单理由"),
    "result": message("核查结果"),
    "unit": message("单位"),
    "proposed_unit": message("系统建议"),
    "urgency": message("紧急程度"),
    "text": message("说明"),
    "reason": message("理由"),
    "satisfaction": message("满意度"),
    "clock": message("时限"),
    "more": message("延长"),
    "into": message("并入"),
    "merged": message("并入的案件"),
    "peer": message("对方"),
    "what": message("往来"),
    "reference": message("对方编号"),
    "title": message("行动名称"),
    "photo_distance_m": message("照片距现场（米）"),
    "photo_taken_at": message("照片拍摄时间"),
    "confirms_photo": message("确认照片"),
    "situation": message("应急或演练"),
}
VALUES = {
    "pass": message("通过"),
    "fail": message("不通过，返工"),
    "step": message("本环节"),
    "whole": message("全程"),
    "urgent": URGENT,
    "normal": message("一般"),
    "True": message("是"),
    "extension": message("延期"),
    "suspension": message("挂账"),
    "积极预防": message("积极预防"),
    "巡查发现": message("巡查发现"),
    "宣传劝阻": message("宣传劝阻"),
    "快速处置": message("快速处置"),
    "及时报告": message("及时报告"),
    "巩固成效": message("巩固成效"),
    "属地不符": message("属地不符"),
    "权属不清": message("权属不清"),
    "职能交叉": message("职能交叉"),
    "满意": message("满意"),
    "基本满意": message("基本满意"),
    "不满意": message("不满意"),
    "未表态": message("未表态"),
    "came_from": message("由对方转来"),
    "passed_up": message("已送出"),
    "received": message("对方已收"),
    "returned": message("对方退回"),
    "refused": message("对方拒收"),
    "answered": message("对方已办复"),
    "提醒": message("提醒"),
    "催办": message("催办"),
    "督办": message("督办"),
    "问效": message("问效"),
}
LIMIT_UNITS = {
    "urgent_hours": message("小时（昼夜）"),
    "work_hours": message("工作小时"),
    "work_days": message("工作日"),
    "natural_days": message("自然日"),
}


def next_words(state: CaseState) -> str:
    """What a case waits for, as a message; the name of its end where it waits for nothing."""
    if state.is_suspended:
        return SUSPENDED
    if state.stage is Stage.FILED and state.level is CaseLevel.COMMUNITY:
        return COMMUNITY_FIRST
    return NEXT.get(state.stage) or STAGES[state.stage]
