# Of nixpkgs' lib what kache's modules use, and an evaluator that knows no more than they need: no types are checked, and
# attribute sets merge one level deep.
let
  mkOption = description: description // { _type = "option"; };
in
rec {
  inherit mkOption;
  mkEnableOption =
    text:
    mkOption {
      default = false;
      description = text;
    };
  mkIf = condition: content: if condition then content else { };
  optionalAttrs = condition: content: if condition then content else { };
  literalExpression = text: text;
  types = {
    package = "package";
    bool = "bool";
    anything = "anything";
    attrsOf = kind: "attrsOf ${kind}";
  };

  # The configuration that modules make of what a user says.
  evalModules =
    { modules, pkgs, user }:
    let
      merge =
        left: right:
        left
        // builtins.mapAttrs (
          name: value:
          if builtins.isAttrs value && !(value ? outPath) && left ? ${name} && builtins.isAttrs left.${name} then
            merge left.${name} value
          else
            value
        ) right;
      flatten =
        module:
        let
          made = if builtins.isFunction module then module { inherit config pkgs lib; } else module;
        in
        builtins.concatMap flatten (made.imports or [ ]) ++ [ made ];
      lib = {
        inherit
          mkOption
          mkEnableOption
          mkIf
          optionalAttrs
          literalExpression
          types
          ;
      };
      all = builtins.concatMap flatten modules;
      defaults =
        option: if option._type or "" == "option" then option.default else builtins.mapAttrs (_: defaults) option;
      start = merge (builtins.foldl' merge { } (map (module: defaults (module.options or { })) all)) user;
      config = start;
    in
    builtins.foldl' merge start (map (module: module.config or { }) all);
}
