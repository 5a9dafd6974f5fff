"""Exact attention over packed groups, one file per kernel; the registry below gives their names."""

ATTENTIONS = {
    "split": "grao_pipeline.training.model.attention.split:SplitAttention",
    "varlen": "grao_pipeline.training.model.attention.varlen:VarlenAttention",
    "flex": "grao_pipeline.training.model.attention.flex:FlexAttention",
}
