"""Words of the pages that stand in no template: names of codes that the database holds.

`message` marks each for the extraction of messages; the template translates it.
"""


def message(text: str) -> str:
    """The text itself: a mark for `pybabel extract`."""
    return text


KINDS = (message("求助"), message("投诉"), message("举报"), message("建议"), message("咨询"), message("巡查"))
NAMES = {
    "inside": message("网格内"),
    "edge": message("网格边界上"),
    "snapped": message("网格外，就近归入"),
    "outside": message("不在任何网格"),
    "manual": message("人工归格"),
    "962000": message("热线962000"),
    "12345": message("热线12345"),
    "110": message("110"),
    "city_grid_centre": message("市网格中心"),
    "patrol": message("巡查员"),
    "blind_spot": message("盲区发现"),
    "visit": message("来访"),
    "resident": message("居民"),
    "wechat": message("微信"),
    "weibo": message("微博"),
    "import": message("历史导入"),
}
SYNTHETIC_PARTS = {
    "layer": message("网格边界"),
    "managers": message("网格长及电话"),
    "reports": message("上报记录"),
    "patrols": message("巡查轨迹"),
    "cases": message("案件"),
}
TEAMS = {"community": message("社区网格巡管队"), "street": message("街面网格巡管队")}
SHIFTS = {"day": message("白班"), "night": message("夜班")}
DUTIES = {
    "appearance": message("市容环境"),
    "security": message("治安防范"),
    "facilities": message("公共设施"),
    "dumping": message("乱倒垃圾"),
    "posting": message("乱贴黑广告"),
    "stalls": message("乱设摊"),
    "reporting": message("信息上报"),
}
FAMILIES = {"event": message("事件"), "component": message("部件")}
FAULTS = {
    401: message("请先登录"),
    403: message("没有权限"),
    404: message("没有找到"),
    405: message("此处不能这样访问"),
    409: message("与已有内容冲突"),
    413: message("内容太大"),
    422: message("输入有误"),
    429: message("次数太多，请稍后再试"),
    503: message("服务暂时不可用"),
}
FAULT = message("出错了")
