"""Words of the pages of supervision and assessment; see `api.pages.words`."""

from api.pages.words import message
from gis_grid.accountability import Cause, Ground
from gis_grid.counted_steps import By
from gis_grid.evaluations import Direction
from gis_grid.indicators import INDICATORS, Measure
from gis_grid.permissions import ReporterClass

BY = {
    By.TOWN: message("街镇"),
    By.COMMUNITY: message("居村"),
    By.GRID: message("网格"),
    By.UNIT: message("单位"),
    By.POST: message("网格长岗位"),
    By.PERSON: message("经办人"),
    By.PATROLLER: message("巡查人员"),
    By.CITY: message("全区"),
    By.FAMILY: message("部件和事件"),
    By.SOURCE: message("来源"),
    By.REPORTER_CLASS: message("上报人类别"),
}
REPORTER_CLASSES = {
    ReporterClass.RESIDENT.value: message("居民"),
    ReporterClass.VOLUNTEER.value: message("志愿者"),
    ReporterClass.STAIRWELL_HEAD.value: message("楼组长"),
    ReporterClass.COMMITTEE.value: message("自治组织"),
    ReporterClass.STAFF.value: message("工作人员"),
}
INDICATOR_NAMES = {
    "filing_rate": message("立案率"),
    "dispatch_accuracy": message("准确派遣率"),
    "taking_in_time_rate": message("按时接单率"),
    "handling_rate": message("处置率"),
    "handling_in_time_rate": message("按期处置率"),
    "checking_in_time_rate": message("按时核查率"),
    "answering_in_time_rate": message("按期答复率"),
    "closing_rate": message("结案率"),
    "closing_in_time_rate": message("按期结案率"),
    "rework_rate": message("返工率"),
    "return_rate": message("回退率"),
    "passing_rate": message("核查通过率"),
    "satisfaction_rate": message("满意率"),
    "valid_report_rate": message("有效上报率"),
    "missing_rate": message("漏报率"),
    "coverage_rate": message("区域覆盖率"),
}
MEASURES = {
    Measure.FILE: message("受理的案件"),
    Measure.DISPATCH: message("派遣"),
    Measure.TAKE: message("应接单"),
    Measure.HANDLE: message("应处置"),
    Measure.CHECK: message("应核查"),
    Measure.ANSWER: message("应答复"),
    Measure.CLOSE: message("应结案"),
    Measure.REWORK: message("已处置的案件"),
    Measure.RETURN: message("收到的案件"),
    Measure.PASS: message("核查"),
    Measure.SATISFY: message("有表态的答复"),
    Measure.REPORT: message("巡查上报"),
    Measure.MISS: message("巡查上报和漏报"),
    Measure.COVER: message("应巡查的面积"),
}
# In the ranking; the page of one area or unit has all.
RANKED = ("closing_in_time_rate", "closing_rate", "handling_in_time_rate", "rework_rate", "return_rate")
OF_PATROLS = ("valid_report_rate", "missing_rate", "coverage_rate")
LESS_IS_BETTER = frozenset(name for name, indicator in INDICATORS.items() if indicator.is_less_better)
GROUNDS = {
    Ground.RED_OVERRUN: message("时限用尽"),
    Ground.MANY_RED: message("多件案件时限用尽"),
    Ground.QUESTION_UNANSWERED: message("问效后没有动静"),
    Ground.PASSED_ROUND: message("一再退单或移送"),
    Ground.REWORKED: message("一再核查不通过"),
}
CAUSES = {
    Cause.RED_OVERDUE: message("红灯超时"),
    Cause.INEFFICIENT: message("效率低下"),
    Cause.DELAYED: message("工作延误"),
    Cause.SHIRKED: message("推诿扯皮"),
    Cause.PERFUNCTORY: message("敷衍塞责"),
}
DIRECTIONS = {
    Direction.DISTRICT_TO_TOWN: message("区评街镇"),
    Direction.TOWN_TO_STATIONED: message("街镇评派驻单位"),
    Direction.TOWN_TO_DEPARTMENT: message("街镇评职能部门"),
}
